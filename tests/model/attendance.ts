/** Who is connected, and the places that takes: nobody is kept out, and what has ended is released. */
import { toIsoTime } from '../../utils/clock';
import type { Device } from './device';
import type { Link } from './link';
import type { Scene } from './scene';
import { becomes, MAX_CONNECTIONS } from './world';

/** A connection whose device has opened another one, and that nobody has ended yet. */
interface Ghost {
  readonly link: Link;
  readonly device: Device;
  readonly node: number;
}

interface Attempt {
  readonly device: Device;
  readonly node: number;
  readonly isIn: boolean;
  readonly closing: string | undefined;
}

const MAX_GHOSTS = 2;
const SYNC_PATIENCE_MS = 5_000;
/** After this time, the service itself ends silent connections. */
const SILENCE_MS = 400_000;

export class Attendance {
  readonly ghosts: Ghost[] = [];
  /** Devices that were notified once of what is new. */
  readonly known = new Set<string>();
  readonly firstDevices = new Map<string, Device | undefined>();
  /** In this burst: handshakes that fail, and those that should not. */
  strangers = 0;
  #attempts: Attempt[] = [];
  readonly #lastEnds = new Map<string, number>();
  #leaving = new Set<string>();
  readonly #linksBefore = new Map<number, number>();
  readonly #startedAt: number;

  constructor(private readonly scene: Scene) {
    this.#startedAt = scene.world.clock.now();
  }

  /** Connections that the service still has, by node or on all. */
  links(node?: number): number {
    const { devices, world } = this.scene;
    const own = devices.filter((device) => device.link !== undefined && (node ?? device.node) === device.node);
    const ghosts = this.ghosts.filter((ghost) => (node ?? ghost.node) === ghost.node);
    return own.length + ghosts.length + world.speakers(node);
  }

  /** Connects a device that is offline, or that noticed the loss of its connection before the service did. */
  async connect(device: Device, b: number): Promise<void> {
    const { world } = this.scene;
    const node = b % world.nodes.length;
    if (device.link !== undefined) {
      this.ghosts.push({ link: device.link, device, node: device.node });
      device.lost(true);
    }
    device.node = node;
    const link = device.open(world.nodes[node]?.port ?? 0, world.token(device.userId));
    const isIn = await link.until(() => link.isIn);
    this.#attempts.push({ device, node, isIn, closing: link.closing });
    if (!isIn) {
      link.reset();
      this.gone(device, false);
      return;
    }
    this.#noteFirst(device);
    if (device.isPrompt && !this.scene.isBurstDisturbed) await this.expectSynced(device);
  }

  #noteFirst(device: Device): void {
    const { userId } = device;
    if (!this.firstDevices.has(userId)) this.firstDevices.set(userId, device);
    else if (!this.known.has(userId) && this.firstDevices.get(userId) !== device)
      this.firstDevices.set(userId, undefined);
  }

  async expectSynced(device: Device): Promise<void> {
    const { link } = device;
    const isSynced = await link?.until(() => link.isSynced, SYNC_PATIENCE_MS);
    // A call that failed on purpose has ended it: it comes back.
    const isCut = link?.closing === 'going_away' && this.scene.wasDisturbed;
    if (isSynced === false && !isCut)
      this.scene.history.violate(`${device.label} got no sync:done: ${link?.closing ?? 'still open'}`);
  }

  #noteSynced(device: Device): void {
    if (device.link?.isSynced !== true) return;
    device.knownSince ??= this.scene.history.now;
    this.known.add(device.userId);
  }

  async end(device: Device, how: 'politely' | 'abruptly'): Promise<void> {
    const { link } = device;
    if (link === undefined) return;
    if (how === 'politely' && !link.isFrozen) {
      await device.settle();
      link.close();
      await link.until(() => link.isEnded);
    }
    const isAbrupt = how === 'abruptly' || link.isFrozen;
    link.reset();
    this.gone(device, isAbrupt);
  }

  gone(device: Device, isAbrupt: boolean): void {
    device.lost(isAbrupt);
    this.#leaving.add(device.userId);
  }

  async cutGhosts(): Promise<void> {
    for (const { link, device } of this.ghosts.splice(0)) {
      link.reset();
      device.excuse();
      this.#leaving.add(device.userId);
    }
    await this.noticed();
  }

  /** Waits until the service has noticed which connections are gone. */
  async noticed(): Promise<void> {
    const { world, history } = this.scene;
    const expected = this.links();
    let taken = { connections: 0, places: 0 };
    const isNoticed = () => {
      taken = world.taken('connections', 'places');
      return taken.connections <= expected && taken.places <= expected;
    };
    if (!(await becomes(isNoticed)))
      history.violate(
        `places or connections do not come back: ${taken.places} and ${taken.connections} of ${expected}`,
      );
    // A revocation that a client does not know of makes it uncertain whose connection has ended.
    const isCertain = !this.scene.wasDisturbed && taken.connections === expected;
    for (const userId of this.#leaving) {
      this.#lastEnds.delete(userId);
      if (isCertain && !this.#isHere(userId) && this.known.has(userId)) this.#lastEnds.set(userId, world.clock.now());
    }
    this.#leaving.clear();
  }

  /** Notes what has ended by itself, and which devices are up to date by now. */
  async sweep(): Promise<void> {
    for (const device of this.scene.devices) {
      this.#noteSynced(device);
      if (device.link?.isEnded === true) this.gone(device, device.link.isFrozen);
    }
    if (this.ghosts.length > MAX_GHOSTS) await this.cutGhosts();
  }

  /** The burst is over. */
  async settle(): Promise<void> {
    if (this.#leaving.size + this.strangers + this.#attempts.length > 0) await this.noticed();
    const attempts = this.#attempts.splice(0);
    for (const attempt of attempts) this.#judge(attempt, attempts.length - 1 + this.strangers);
    this.strangers = 0;
    for (const device of this.scene.devices) device.isTaken = false;
    this.begin();
  }

  begin(): void {
    for (const node of this.scene.world.nodes.keys()) this.#linksBefore.set(node, this.links(node));
  }

  /** Nobody is kept out while there are places, nor admitted without one. */
  #judge({ device, node, isIn, closing }: Attempt, others: number): void {
    const { history, world } = this.scene;
    const before = this.#linksBefore.get(node) ?? 0;
    if (!isIn && before + others < MAX_CONNECTIONS) history.violate(`${device.label} was locked out: ${closing}`);
    const isFull = this.links(node) > MAX_CONNECTIONS && world.clock.now() - this.#startedAt < SILENCE_MS;
    if (isIn && isFull) history.violate(`${device.label} was let in beyond MAX_CONNECTIONS`);
  }

  /** A user who is gone was last seen when the last connection ended. */
  async judgeLastSeen(userId: string): Promise<void> {
    const leftAt = this.#lastEnds.get(userId);
    if (leftAt === undefined || this.#isHere(userId)) return;
    const { body } = await this.scene.world.ask('GET', `/websocket/users/${userId}/status`);
    const [lastSeen, expected] = [String(body['lastSeen']), toIsoTime(leftAt)];
    if (lastSeen !== expected)
      this.scene.history.violate(`${userId} left at ${expected}, and was last seen ${lastSeen}`);
  }

  /** Connections of this user have ended at a time that is not certain. */
  forgetEnd(userId: string): void {
    this.#lastEnds.delete(userId);
  }

  #isHere(userId: string): boolean {
    const hasLink = this.scene.devices.some((device) => device.userId === userId && device.link !== undefined);
    return hasLink || this.ghosts.some(({ device }) => device.userId === userId);
  }
}

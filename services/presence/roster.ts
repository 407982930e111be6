/**
 * Who is connected, over all nodes. Each node publishes every change of the connections of its users, and all its users
 * to a node that has missed one; so every node answers from its own memory, even while Redis is unavailable. A node
 * that has been silent for the length of its lease is gone, and its users with it.
 */
import type { Clock, Timer } from '../../utils/clock';
import type { FrameOf } from '../../utils/cluster-protocol';
import { SortedNames } from '../../utils/sorted-names';
import { BEAT_INTERVAL_MS, type Cluster } from '../cluster/contract';
import type { FrameFor } from '../cluster/frames';
import type { Connection, Connections } from '../delivery/connections';
import type { Cursors } from '../delivery/cursors';
import type { NamePage } from '../storage/contract';
import type { Presence } from './presence';

/** How long a silent node counts as alive. Together with the grace period of presence well within 30 s. */
const LEASE_MS = 10_000;
/** Nodes that miss changes at the same time share one answer. */
const MIN_ROSTER_INTERVAL_MS = 500;
const USERS_PER_PART = 1_000;

export interface UserStatus {
  readonly connected: boolean;
  readonly sockets: number;
  readonly devices: number;
}

/** Connections by device. */
type DeviceCounts = ReadonlyMap<string, number>;

const NONE: DeviceCounts = new Map();

/** What another node has published. */
interface Peer {
  /** Number of its changes known here; -1 before its roster has arrived. */
  version: number;
  users: Map<string, DeviceCounts>;
  /** By the steady time. */
  heardAt: number;
  /** Parts of its roster that have arrived, and their version. */
  readonly parts: Map<number, FrameOf<'roster'>['users']>;
  partsOf: number;
}

export interface RosterParts {
  readonly connections: Connections;
  readonly cluster: Cluster;
  readonly presence: Presence;
  readonly cursors: Pick<Cursors, 'sawLast'>;
  readonly clock: Clock;
  /** A node has ended without a word: what it was doing may be half done. */
  readonly onLost?: () => void;
}

export class Roster {
  readonly #peers = new Map<string, Peer>();
  /** Other nodes where a user has connections. */
  readonly #elsewhere = new Map<string, Set<Peer>>();
  /** Distinct users connected to any node. */
  readonly #online = new SortedNames();
  #countElsewhere = 0;
  #version = 0;
  #rosterPublishedAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;

  constructor(private readonly parts: RosterParts) {}

  open(): void {
    if (!this.parts.cluster.isShared) return;
    this.#timer = this.parts.clock.every(BEAT_INTERVAL_MS, () => this.beat());
    this.beat();
  }

  /** Notifies the other nodes that this one stops, and its connections with it. */
  close(): void {
    this.#timer?.cancel();
    this.parts.cluster.publish({ kind: 'bye' });
  }

  /** Publishes a heartbeat, and forgets nodes whose lease has ended. */
  beat(): void {
    this.parts.cluster.publish({ kind: 'beat', version: this.#version });
    const now = this.parts.clock.steady();
    for (const [node, peer] of this.#peers) {
      // While Redis is unavailable no node is heard: that says nothing about them.
      if (this.parts.cluster.live === 'degraded') peer.heardAt = now;
      else if (now - peer.heardAt > LEASE_MS) this.#lose(node, peer);
    }
  }

  /** A connection has opened. */
  arrived(connection: Connection): void {
    this.parts.connections.add(connection);
    this.#online.add(connection.userId);
    this.parts.presence.arrived(connection.userId);
    this.#publish(connection.userId);
  }

  /** A connection has ended. @returns whether it was the user's last one here; `undefined` when it was not listed. */
  departed(connection: Connection, at: number): boolean | undefined {
    const { connections, presence } = this.parts;
    const { userId } = connection;
    if (!connections.remove(connection)) return undefined;
    if (!this.isOnline(userId)) {
      this.#online.delete(userId);
      presence.departed(userId, at);
    }
    this.#publish(userId, at);
    return connections.countOf(userId) === 0;
  }

  #publish(userId: string, at = this.parts.clock.now()): void {
    if (!this.parts.cluster.isShared) return;
    this.#version += 1;
    const devices = [...this.parts.connections.devicesOf(userId)];
    this.parts.cluster.publish({ kind: 'online', version: this.#version, userId, devices, at });
  }

  isOnline(userId: string): boolean {
    return this.parts.connections.countOf(userId) > 0 || this.#elsewhere.has(userId);
  }

  /** Distinct connected users. */
  get userCount(): number {
    return this.#online.size;
  }

  /** Connections in all. */
  get count(): number {
    return this.parts.connections.count + this.#countElsewhere;
  }

  /** Known nodes, including this one. */
  get nodeCount(): number {
    return 1 + this.#peers.size;
  }

  /** A page of the connected users, by name. */
  usersAfter({ after, limit }: NamePage): { readonly items: readonly string[]; readonly next: string | undefined } {
    const items: string[] = [];
    for (const userId of this.#online.after(after)) {
      if (items.length === limit) return { items, next: items.at(-1) };
      items.push(userId);
    }
    return { items, next: undefined };
  }

  /** The connected devices of a user, over all nodes. */
  devicesOf(userId: string): ReadonlySet<string> {
    const all = [this.parts.connections.devicesOf(userId), ...this.#devicesElsewhere(userId)];
    return new Set(all.flatMap((each) => [...each.keys()]));
  }

  statusOf(userId: string): UserStatus {
    const sockets = this.parts.connections.countOf(userId) + this.countElsewhere(userId);
    return { connected: sockets > 0, sockets, devices: this.devicesOf(userId).size };
  }

  /** Connections of a user on other nodes, for one device or all. */
  countElsewhere(userId: string, device?: string): number {
    return this.#devicesElsewhere(userId).reduce(
      (sum, devices) => sum + (device === undefined ? sumOf(devices) : (devices.get(device) ?? 0)),
      0,
    );
  }

  #devicesElsewhere(userId: string): DeviceCounts[] {
    return Array.from(this.#elsewhere.get(userId) ?? [], ({ users }) => users.get(userId) ?? NONE);
  }

  /** Any frame is a sign of life of its node. */
  heard(node: string): void {
    this.#hear(node);
  }

  /** Takes what another node has published about its users. */
  receive(frame: FrameFor<'roster'>, node: string): void {
    const peer = this.#hear(node);
    if (frame.kind === 'online') this.#takeChange(node, peer, frame);
    else if (frame.kind === 'beat') this.#compare(node, peer, frame.version);
    else if (frame.kind === 'roster') this.#takePart(peer, frame);
    else if (frame.kind === 'bye') this.#forget(node, peer);
    else if (frame.of === this.parts.cluster.node) this.#publishRoster();
  }

  #hear(node: string): Peer {
    const peer: Peer = this.#peers.get(node) ?? {
      version: -1,
      users: new Map(),
      heardAt: 0,
      parts: new Map(),
      partsOf: -1,
    };
    peer.heardAt = this.parts.clock.steady();
    this.#peers.set(node, peer);
    return peer;
  }

  #takeChange(node: string, peer: Peer, { version, userId, devices, at }: FrameOf<'online'>): void {
    if (version <= peer.version) return;
    if (version > peer.version + 1 || peer.version === -1) {
      this.#ask(node);
      return;
    }
    peer.version = version;
    this.#set(peer, userId, { devices: new Map(devices), at });
  }

  #compare(node: string, peer: Peer, version: number): void {
    if (version !== peer.version) this.#ask(node);
  }

  #ask(node: string): void {
    this.parts.cluster.publish({ kind: 'roster-wanted', of: node });
  }

  #publishRoster(): void {
    const now = this.parts.clock.steady();
    // A node that asks too early asks again after the next heartbeat.
    if (now - this.#rosterPublishedAt < MIN_ROSTER_INTERVAL_MS) return;
    this.#rosterPublishedAt = now;
    const { connections, cluster } = this.parts;
    const users = connections
      .userIds()
      .map((userId): FrameOf<'roster'>['users'][number] => [userId, [...connections.devicesOf(userId)]]);
    const parts = Math.max(1, Math.ceil(users.length / USERS_PER_PART));
    for (let part = 0; part < parts; part += 1) {
      const some = users.slice(part * USERS_PER_PART, (part + 1) * USERS_PER_PART);
      cluster.publish({ kind: 'roster', version: this.#version, part, parts, users: some });
    }
  }

  #takePart(peer: Peer, { version, part, parts, users }: FrameOf<'roster'>): void {
    if (version <= peer.version) return;
    if (version !== peer.partsOf) peer.parts.clear();
    peer.partsOf = version;
    peer.parts.set(part, users);
    if (peer.parts.size < parts) return;
    const received = new Map([...peer.parts.values()].flat());
    peer.parts.clear();
    peer.version = version;
    const at = this.parts.clock.now();
    for (const userId of [...peer.users.keys()])
      if (!received.has(userId)) this.#set(peer, userId, { devices: NONE, at });
    for (const [userId, devices] of received) this.#set(peer, userId, { devices: new Map(devices), at });
  }

  #set(peer: Peer, userId: string, { devices, at }: { devices: DeviceCounts; at: number }): void {
    const wasOnline = this.isOnline(userId);
    const nodes = this.#elsewhere.get(userId) ?? new Set();
    this.#countElsewhere += sumOf(devices) - sumOf(peer.users.get(userId) ?? NONE);
    if (devices.size === 0) {
      peer.users.delete(userId);
      nodes.delete(peer);
      if (nodes.size === 0) this.#elsewhere.delete(userId);
    } else {
      peer.users.set(userId, devices);
      this.#elsewhere.set(userId, nodes.add(peer));
    }
    const isOnline = this.isOnline(userId);
    if (isOnline && !wasOnline) {
      this.#online.add(userId);
      this.parts.presence.arrived(userId);
    }
    if (!wasOnline || isOnline) return;
    this.#online.delete(userId);
    this.parts.cursors.sawLast(userId, at);
    // By the clock of this node: the grace period begins now, whatever the time elsewhere.
    this.parts.presence.departed(userId);
  }

  #lose(node: string, peer: Peer): void {
    this.#forget(node, peer);
    this.parts.onLost?.();
  }

  #forget(node: string, peer: Peer): void {
    this.#peers.delete(node);
    const at = this.parts.clock.now();
    for (const userId of [...peer.users.keys()]) this.#set(peer, userId, { devices: NONE, at });
  }
}

function sumOf(devices: DeviceCounts): number {
  let sum = 0;
  for (const count of devices.values()) sum += count;
  return sum;
}

/** One run: a few users with their devices on the world, and what is done to them, burst by burst. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ACTS, type Command } from './acts';
import { Attendance } from './attendance';
import { Device } from './device';
import { History, type Said } from './history';
import { Members } from './members';
import { inTime, type World } from './world';

const ANSWER_PATIENCE_MS = 20_000;

export class Scene {
  readonly history = new History();
  readonly users: readonly string[];
  readonly devices: readonly Device[];
  readonly topic: string;
  readonly members: Members;
  readonly attendance: Attendance;
  /** Is something being made to fail now? */
  isDisturbed = false;
  /** Was it ever? A failure may show a moment later. */
  wasDisturbed = false;
  /** In this burst. */
  isBurstDisturbed = false;
  /** Scheduled messages that have not been sent, by id. */
  readonly waiting = new Map<string, { readonly userId: string; readonly dueAt: number; readonly data: unknown }>();
  #words = 0;
  /** Steps of this burst beyond one for each command. */
  #moreSteps = 0;

  constructor(
    readonly world: World,
    readonly name: string,
    isPolling = false,
  ) {
    const [anna, ben, carla] = ['anna', 'ben', 'carla'].map((user) => `${user}-${name}`) as [string, string, string];
    this.users = [anna, ben, carla];
    this.topic = `news-${name}`;
    this.members = new Members(world.nodes.length > 1);
    this.devices = [
      new Device(anna, 'phone', 'plain', this.history),
      new Device(anna, 'laptop', 'socketio', this.history),
      new Device(anna, undefined, 'socketio', this.history),
      new Device(ben, 'phone', 'socketio', this.history),
      new Device(ben, undefined, 'plain', this.history),
      new Device(carla, 'phone', isPolling ? 'polling' : 'plain', this.history),
    ];
    this.attendance = new Attendance(this);
  }

  async begin(): Promise<void> {
    await this.world.openSpeakers();
    await this.world.ask('POST', '/topics', { body: { name: this.topic } });
    this.attendance.begin();
  }

  /** @returns how many things were done. */
  async burst(commands: readonly Command[]): Promise<number> {
    this.isBurstDisturbed = this.isDisturbed;
    this.#moreSteps = 0;
    await this.attendance.sweep();
    const begun: Promise<unknown>[] = [];
    for (const { kind, a, b } of commands) {
      const act = ACTS[kind];
      if (act?.isAlone === true) {
        await this.#end(begun);
        await this.settle();
      }
      const promise = act?.begin(this, a, b);
      if (promise !== undefined) begun.push(promise);
      if (act?.isAlone !== true || promise === undefined) continue;
      await this.#end([promise]);
      await this.settle();
    }
    await this.#end(begun);
    await this.settle();
    return begun.length + this.#moreSteps;
  }

  /** One after the other, as one command: each knows the results of those before. */
  async inTurn(steps: readonly (() => Promise<void>)[]): Promise<void> {
    for (const step of steps) {
      await step();
      await this.settle();
    }
    this.noteSteps(steps.length);
  }

  /** One command has done this much: a step is one thing that is done, whichever list it is in. */
  noteSteps(count: number): void {
    this.#moreSteps += count - 1;
  }

  /** Everything that was asked for is answered. */
  async #end(begun: readonly Promise<unknown>[]): Promise<void> {
    if (!(await inTime(Promise.all(begun), ANSWER_PATIENCE_MS)))
      this.history.violate('something that was asked for is not answered');
  }

  /** What was started has ended: enters its effects, and checks what has arrived. */
  async settle(): Promise<void> {
    this.history.settle();
    this.members.settle();
    for (const device of this.devices) device.noteExcused();
    await nextTurn();
    await this.attendance.sweep();
    for (const device of this.devices) this.#judgeReceived(device);
    await this.attendance.settle();
    this.isBurstDisturbed = this.isDisturbed;
  }

  /** One by one, as the end of a run and some acts need it. */
  async run(kind: string, a: number, b = 0): Promise<void> {
    await this.burst([{ kind, a, b, burst: 0 }]);
  }

  disturb(): void {
    this.isDisturbed = true;
    this.isBurstDisturbed = true;
    this.wasDisturbed = true;
  }

  calm(): void {
    this.isDisturbed = false;
    this.world.faults.clear();
    this.world.bus.clear();
  }

  user(a: number): string {
    // Half of the commands are for the first user: what needs several steps on one inbox comes sooner.
    const index = a % 6;
    return this.users[index < 3 ? 0 : index < 5 ? 1 : 2] as string;
  }

  /** One of the devices that this can be done to now; nothing else in this burst happens to its connection. */
  take(a: number, isFit: (device: Device) => boolean): Device | undefined {
    const fit = this.devices.filter((device) => !device.isTaken && isFit(device));
    const device = fit[a % Math.max(1, fit.length)];
    if (device !== undefined) device.isTaken = true;
    return device;
  }

  recent(a: number): Said | undefined {
    const all = this.history.recent(5);
    return all[a % Math.max(1, all.length)];
  }

  /** The next message. */
  words(options: object = {}): { id: string; type: string; data: object } {
    this.#words += 1;
    return { id: `${this.name}-${this.#words}`, type: 'chat', data: { n: this.#words }, ...options };
  }

  #judgeReceived(device: Device): void {
    for (const id of device.takeFresh()) {
      const said = this.history.messages.get(id);
      if (said === undefined || said.may.has(device.userId)) continue;
      if (said.topic === this.topic && this.members.isUnsure(device.userId)) continue;
      this.history.violate(`I4: ${device.label} got ${id} of ${said.topic}`);
    }
  }
}

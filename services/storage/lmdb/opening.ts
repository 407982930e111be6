/** Devices that connect: where they stand, and how a new one is entered. */
import type { DeviceLimit, OpenedDevice, SeenDevice } from '../contract';
import type { Access } from './access';
import type { Devices } from './devices';
import type { Erasures } from './erasures';

export class Opening {
  constructor(
    private readonly devices: Devices,
    private readonly erasures: Erasures,
    private readonly access: Access,
  ) {}

  async open(userId: string, device: string, limit?: DeviceLimit): Promise<OpenedDevice> {
    const { access, devices, erasures } = this;
    const looked = access.read(() => ({
      isErased: erasures.isUnderWay(userId),
      known: devices.positionsOf(userId, device),
    }));
    // Without a turn in between: what was asked for before close() is still done.
    const { isErased, known } = looked instanceof Promise ? await looked : looked;
    if (known !== undefined && !isErased) return known;
    // A user who comes back is new: nothing of the one before is left.
    if (isErased) await erasures.end(userId);
    return this.#enter(userId, device, limit);
  }

  /** Looks for what is unread before the write; where somebody was faster to make the user known, once more. */
  async #enter(userId: string, device: string, limit: DeviceLimit | undefined): Promise<OpenedDevice> {
    const { access, devices } = this;
    const isNew = access.read(() => !devices.isKnown(userId)) === true;
    const further = isNew ? undefined : await access.walking(() => devices.furtherDevice(userId));
    const entered = await access.write(() => devices.enter(userId, device, { limit, further }));
    return entered ?? this.#enter(userId, device, limit);
  }

  async saveSeen(seen: readonly SeenDevice[]): Promise<void> {
    const unseen = await this.access.reading(() => this.devices.unseen(seen));
    if (unseen.length > 0) await this.access.write(() => this.devices.saveSeen(unseen));
  }
}

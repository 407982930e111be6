/** The other nodes, in one process: frames as they are written, which can be lost, late, and in another order. */
import type { Cluster, FrameListener, Live } from '../../services/cluster/contract';
import { type ClusterFrame, decodeFrame, encodeFrame } from '../../utils/cluster-protocol';

export type Weather = 'fine' | 'losing' | 'late' | 'down';

interface Parcel {
  readonly to: string;
  readonly text: string;
}

export class Bus {
  readonly listeners = new Map<string, FrameListener>();
  #weather: Weather = 'fine';
  #late: Parcel[] = [];
  outages = 0;

  get weather(): Weather {
    return this.#weather;
  }

  get live(): Live {
    return this.#weather === 'down' ? 'degraded' : 'ok';
  }

  set(weather: Weather): void {
    if (weather === 'down' && this.#weather !== 'down') this.outages += 1;
    this.#weather = weather;
  }

  /** Works again; late frames come now, the last first. */
  clear(): void {
    this.#weather = 'fine';
    for (const parcel of this.#late.splice(0).reverse()) this.#hand(parcel);
  }

  tell(from: string, frame: ClusterFrame): void {
    if (this.#weather === 'losing' || this.#weather === 'down') return;
    const text = encodeFrame(from, frame);
    for (const to of this.listeners.keys()) {
      if (to === from) continue;
      if (this.#weather === 'late') this.#late.push({ to, text });
      else setImmediate(() => this.#hand({ to, text }));
    }
  }

  #hand({ to, text }: Parcel): void {
    const decoded = decodeFrame(text);
    if (!('foreign' in decoded)) this.listeners.get(to)?.(decoded.frame, decoded.node);
  }

  /** One node's view of it. */
  join(node: string): Cluster {
    const bus = this;
    return {
      node,
      isShared: true,
      refusedFrames: 0,
      prefix: '',
      get live() {
        return bus.live;
      },
      get outages() {
        return bus.outages;
      },
      publish: (frame) => bus.tell(node, frame),
      command: () => Promise.reject(new Error('there is no Redis')),
      open: async (listener) => void bus.listeners.set(node, listener),
      close: async () => void bus.listeners.delete(node),
    };
  }
}

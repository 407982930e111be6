/** What a round has done and seen, in order. Nothing is judged here: see checker.ts. */

export interface DeviceOf {
  readonly userId: string;
  /** `undefined`: the client names none, and so acknowledges nothing. */
  readonly device: string | undefined;
}

/** A message as its receiver, the answer to a send, or the inbox shows it. */
export interface Place {
  readonly id: string;
  readonly topic: string;
  readonly seq: number;
}

/** Something to be sent, once, however often it has to be tried. */
export interface Intent {
  /** The Idempotency-Key; the message carries it, too, so that each delivery identifies its intent. */
  readonly key: string;
  readonly topic: string;
}

export interface Try extends Intent {
  readonly at: number;
}

export interface Accepted extends Place {
  readonly at: number;
  readonly key: string;
}

export interface Delivery extends Place, DeviceOf {
  readonly at: number;
  /** Connections of one device, from 1. */
  readonly connection: number;
  readonly key: string;
}

export interface Ack extends DeviceOf {
  readonly at: number;
  readonly connection: number;
  readonly topic: string;
  readonly seq: number;
}

export class History {
  readonly tries: Try[] = [];
  readonly accepted: Accepted[] = [];
  readonly deliveries: Delivery[] = [];
  readonly acks: Ack[] = [];
  /** Problems that nobody may receive in a round: a refused ack, a reset, a send that is refused for good. */
  readonly complaints: string[] = [];

  tried({ key, topic }: Intent): void {
    this.tries.push({ at: now(), key, topic });
  }

  answered(key: string, { id, topic, seq }: Place): void {
    this.accepted.push({ at: now(), key, id, topic, seq });
  }

  delivered({ userId, device, connection, key, id, topic, seq }: Omit<Delivery, 'at'>): void {
    this.deliveries.push({ at: now(), userId, device, connection, key, id, topic, seq });
  }

  acked({ userId, device, connection, topic, seq }: Omit<Ack, 'at'>): void {
    this.acks.push({ at: now(), userId, device, connection, topic, seq });
  }

  complain(sentence: string): void {
    this.complaints.push(sentence);
  }
}

/** Milliseconds since this process began: for people who read a history. */
function now(): number {
  return Math.round(performance.now());
}

/** The name of a device in sentences. */
export function nameOf({ userId, device }: DeviceOf): string {
  return `${userId}/${device ?? '(no name)'}`;
}

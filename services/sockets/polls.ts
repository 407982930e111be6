/**
 * A polling client of Socket.IO must read the answer of a poll before it polls again. Otherwise each poll would empty
 * the buffer of its connection, and the bound on unread output would never be reached.
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import type { EngineConnection, EngineRequest, EngineServer } from './engine';

const answers = new WeakMap<EngineConnection, ServerResponse>();
const polls = new WeakSet<ServerResponse>();

/** Is this the answer of a poll? Then its bytes count for the connection. */
export function isPoll(response: ServerResponse): boolean {
  return polls.has(response);
}

/** Unread bytes of the last poll's answer. */
export function untakenBytesOfPoll(engine: EngineConnection): number {
  return answers.get(engine)?.writableLength ?? 0;
}

/** The session that a request belongs to. */
export function engineOfRequest(
  { clients }: Pick<EngineServer, 'clients'>,
  request: IncomingMessage,
): EngineConnection | undefined {
  const { sid = '' } = (request as EngineRequest)._query ?? {};
  return Object.hasOwn(clients, sid) ? clients[sid] : undefined;
}

/** A middleware of Engine.IO. */
export function pollInTurn({ clients }: Pick<EngineServer, 'clients'>) {
  return (request: IncomingMessage, response: unknown, next: () => void): void => {
    const engine = engineOfRequest({ clients }, request);
    // For an upgrade Engine.IO passes a stand-in response.
    if (engine === undefined || request.method !== 'GET' || !(response instanceof ServerResponse)) {
      next();
      return;
    }
    const proceed = () => {
      // Engine.IO would wait for the end of a request that has already ended.
      if (response.closed) return;
      answers.set(engine, response);
      polls.add(response);
      next();
    };
    const before = answers.get(engine);
    if (before === undefined || before.closed) proceed();
    else before.once('close', proceed);
  };
}

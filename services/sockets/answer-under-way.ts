import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';

/** The answer that a connection of the HTTP server is about to carry, or carries: nobody else may write to it meanwhile. */
export function answerUnderWay(socket: Duplex): ServerResponse | undefined {
  return (socket as { readonly _httpMessage?: ServerResponse | null })._httpMessage ?? undefined;
}

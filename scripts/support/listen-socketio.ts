/** Listens by Socket.IO, which restores lost connections by itself. */
import { io, type Socket } from 'socket.io-client';
import type { Problem } from '../../utils/errors';
import { SERVER_EVENTS } from '../../utils/protocol';
import { explainEnding, explainProblem } from './explain';
import { type Frame, type Listen, type ListenOptions, placeOf } from './listening';
import { explainNoConnection } from './requests';

const OWN_EVENTS: ReadonlySet<string> = new Set(SERVER_EVENTS);
const CONNECT_TIMEOUT_MS = 10_000;
const MAX_RECONNECTION_DELAY_MS = 5_000;

/** With AUTH_ERROR_EVENT, the service says no more than this. */
const REFUSED = 'The service refused the token: make one with npm run token where the service runs.';

export const listenBySocketIo: Listen = (options) => {
  const { access, device } = options;
  const socket = io(access.origin, {
    transports: ['websocket'],
    forceNew: true,
    timeout: CONNECT_TIMEOUT_MS,
    reconnectionDelayMax: MAX_RECONNECTION_DELAY_MS,
    auth: (give: (auth: object) => void) => give({ token: access.token(), device }),
  });
  watch(socket, options);
  return {
    refresh: (token) => void socket.emit('auth:refresh', { token }),
    close: () => void socket.close(),
  };
};

function watch(socket: Socket, { access, onFrame, onLost, onEnd }: ListenOptions): void {
  let closing: Frame | undefined;
  let hasBeenIn = false;

  const end = (reason: string) => {
    socket.close();
    onEnd(reason);
  };
  const explainEnd = () => {
    if (closing !== undefined) return explainEnding(String(closing['code']), String(closing['reason']));
    return hasBeenIn ? 'The service closed the connection.' : REFUSED;
  };
  socket.onAny((event: string, ...args: unknown[]) => {
    const frame = toFrame(event, args);
    if (event === 'connected') hasBeenIn = true;
    closing = event === 'closing' ? frame : undefined;
    // The reason of a refusal is reported at the end.
    if (event === 'error' && !hasBeenIn) return;
    const { id } = socket;
    onFrame(frame, () => {
      // On another connection, this `seq` was not sent; the entry comes again instead.
      if (socket.connected && socket.id === id) socket.emit('ack', placeOf(frame));
    });
  });
  socket.on('disconnect', (reason) => {
    if (socket.active) onLost();
    else if (reason !== 'io client disconnect') end(explainEnd());
  });
  socket.on('connect_error', (error: Error & { data?: Problem }) => {
    if (error.data !== undefined) end(explainProblem(error.data, access));
    else if (!hasBeenIn) {
      socket.close();
      void explainNoConnection(access.origin).then(onEnd);
    }
  });
}

/** Custom events have the payload as it was sent, followed by the other fields. */
function toFrame(event: string, [payload, meta]: readonly unknown[]): Frame {
  return OWN_EVENTS.has(event)
    ? { event, ...(payload as object | undefined) }
    : { event, ...(meta as object | undefined), data: payload };
}

/** WebSocket pings that are told apart by their payload: a peer answers each with the same bytes, in order. */

/** The `readyState` of a WebSocket that is neither opening nor closing. */
export const OPEN = 1;

/** The part of a WebSocket that is used here. */
export interface PingSocket {
  on(event: 'pong', listener: (data: Buffer) => void): unknown;
  off(event: 'pong', listener: (data: Buffer) => void): unknown;
  ping(data: Buffer): void;
}

let pings = 0;

/** Sends a ping; calls back when the peer has answered it, and so has received what was written before it. */
export function whenAnswered(socket: PingSocket, callback: () => void): void {
  pings += 1;
  const payload = Buffer.from(String(pings));
  const onPong = (data: Buffer) => {
    if (!payload.equals(data)) return;
    socket.off('pong', onPong);
    callback();
  };
  socket.on('pong', onPong);
  socket.ping(payload);
}

/** Who connects over Socket.IO: token and device of a handshake. */
import type { Socket } from 'socket.io';
import { readAuthorization, readBearer } from '../../utils/caller';
import { AppError } from '../../utils/errors';
import { deviceSchema, parseField } from '../../utils/schemas';
import { DEFAULT_DEVICE } from '../../utils/topic-names';
import { engineOf } from './engine';

/** Token from `auth.token`, else the Authorization header, else `?token=`. */
export function readToken(socket: Socket): string {
  const { auth, query } = socket.handshake;
  const named: unknown = (auth as { token?: unknown }).token;
  const header = named === undefined ? readAuthorization(socket.request.rawHeaders) : undefined;
  if (header !== undefined) return readBearer(header);
  const token: unknown = named === undefined ? query['token'] : named;
  if (typeof token === 'string' && token !== '') return token.startsWith('Bearer ') ? readBearer(token) : token;
  throw new AppError(
    'unauthorized',
    'A token is required: send it as auth.token, in an Authorization header or as ?token=.',
  );
}

/** Device from `auth.device`, else `?device=`, else the default device. */
export function readDevice(socket: Socket): string {
  const { auth, query } = socket.handshake;
  const named: unknown = (auth as { device?: unknown }).device;
  const device: unknown = named === undefined ? query['device'] : named;
  return device === undefined ? DEFAULT_DEVICE : parseField('device', deviceSchema, device);
}

/** Frees the request (about 4 KiB) and the token, which nothing needs once the socket is open. */
export function releaseHandshake(socket: Socket): void {
  const { handshake } = socket;
  handshake.auth = {};
  handshake.headers = {};
  handshake.query = {};
  handshake.url = '';
  const engine = engineOf(socket);
  if (engine.transport.name === 'websocket') engine.request = null;
}

/** Every way to present a token, and the result. */
import { openClient } from './client';
import { openPlain, type PlainClient } from './plain-client';
import type { TestService } from './service';

/** Where a token is presented. */
export type Doorway = Pick<TestService, 'url' | 'anonymous'>;

/** Presents a token. @returns `accepted`, or the code of the refusal. */
export type Door = (service: Doorway, token: string) => Promise<string>;

async function verdictOf(client: PlainClient): Promise<string> {
  const { event, code } = await Promise.race([client.nextFrame('connected'), client.nextFrame('error')]);
  client.close();
  return event === 'connected' ? 'accepted' : String(code);
}

export const overRest: Door = async (service, token) => {
  const { status, body } = await service.anonymous.get('/inbox/counts').set('Authorization', `Bearer ${token}`);
  return status === 200 ? 'accepted' : body.code;
};

export const DOORS: [name: string, enter: Door][] = [
  ['REST', overRest],
  [
    'Socket.IO',
    async (service, token) => {
      const client = openClient(service.url, { auth: { token } });
      const verdict = await new Promise<string>((resolve) => {
        client.socket.once('connected', () => resolve('accepted'));
        client.socket.once('connect_error', (error: Error & { data?: { code: string } }) =>
          resolve(error.data?.code ?? error.message),
        );
      });
      client.close();
      return verdict;
    },
  ],
  [
    'plain WebSocket',
    (service, token) => verdictOf(openPlain(service.url, { headers: { Authorization: `Bearer ${token}` } })),
  ],
  [
    'the first frame',
    (service, token) => {
      const client = openPlain(service.url);
      client.socket.once('open', () => client.send({ action: 'auth', token }));
      return verdictOf(client);
    },
  ],
];

/**
 * Only a WebSocket takes a connection over. Clients that offer another protocol beside a request, as Java's HttpClient
 * does with `Upgrade: h2c`, are answered in HTTP/1.1: RFC 9110, section 7.8 lets a server ignore the offer.
 */
import { IncomingMessage } from 'node:http';

/** What Node's parser says: the peer asks for another protocol. */
const asksForUpgrade = new WeakSet<IncomingMessage>();

/** For `createServer`: Node reads `upgrade` once the headers are known, and hands the connection over when it is true. */
export class HttpRequest extends IncomingMessage {
  get upgrade(): boolean {
    if (!asksForUpgrade.has(this)) return false;
    return this.method === 'CONNECT' || this.headers.upgrade?.toLowerCase() === 'websocket';
  }

  set upgrade(isAskedFor: boolean | null) {
    if (isAskedFor === true) asksForUpgrade.add(this);
    else asksForUpgrade.delete(this);
  }
}

/** The classes from which Node makes requests and responses, with the prototypes that Express wants. */
import { IncomingMessage, ServerResponse } from 'node:http';

/** What Express sets as prototypes of a request and its response. */
export interface HttpPrototypes {
  request: object;
  response: object;
}

/** For `createServer`. */
export interface HttpClasses {
  readonly IncomingMessage: typeof IncomingMessage;
  readonly ServerResponse: typeof ServerResponse;
}

/** Set by Node's parser: the peer asks for another protocol. */
const asksForUpgrade = new WeakSet<IncomingMessage>();

/**
 * Creates requests and responses with the prototypes that an Express application sets, instead of changing them later:
 * an object whose prototype changes has a shape that V8 has not seen, and each access to it is looked up again. See
 * docs/decisions/0022-born-as-express-wants-them.md.
 * @param onUnsent is called with each response of which something written has not left yet, whoever wrote it.
 */
export function createHttpClasses(
  application: HttpPrototypes,
  onUnsent: (response: ServerResponse) => void,
): HttpClasses {
  /**
   * Only a WebSocket takes over a connection. Clients that offer another protocol with a request, as Java's HttpClient
   * does with `Upgrade: h2c`, are answered in HTTP/1.1: RFC 9110, section 7.8 lets a server ignore the offer. Node
   * reads `upgrade` once the headers are known, and hands over the connection if it is true.
   */
  class HttpRequest extends IncomingMessage {
    get upgrade(): boolean {
      if (!asksForUpgrade.has(this)) return false;
      return this.method === 'CONNECT' || this.headers.upgrade?.toLowerCase() === 'websocket';
    }

    set upgrade(isAskedFor: boolean | null) {
      if (isAskedFor === true) asksForUpgrade.add(this);
      else asksForUpgrade.delete(this);
    }
  }
  class HttpResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
    override write(...written: unknown[]): boolean {
      const hasRoom = super.write(...(written as Parameters<ServerResponse['write']>));
      if (this.writableLength > 0) onUnsent(this);
      return hasRoom;
    }

    override end(...written: unknown[]): this {
      super.end(...(written as Parameters<ServerResponse['end']>));
      if (this.writableLength > 0) onUnsent(this);
      return this;
    }
  }
  Object.setPrototypeOf(HttpRequest.prototype, application.request);
  Object.setPrototypeOf(HttpResponse.prototype, application.response);
  application.request = HttpRequest.prototype;
  application.response = HttpResponse.prototype;
  return { IncomingMessage: HttpRequest, ServerResponse: HttpResponse };
}

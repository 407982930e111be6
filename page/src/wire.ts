/** What the page knows of the wire: the client package's own description of it. */
export { type MessageMeta, SERVER_EVENTS } from '../../client/src/protocol.ts';

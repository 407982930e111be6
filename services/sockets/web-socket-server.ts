/**
 * The one WebSocket implementation, for both endpoints. Engine.IO would bring its own copy, which answers pings without
 * bound while the client reads nothing.
 */
export { WebSocketServer } from 'ws';

/**
 * The one WebSocket implementation, for both endpoints. Engine.IO would bring a copy of its own, which answers pings without
 * end while nothing is read.
 */
export { WebSocketServer } from 'ws';

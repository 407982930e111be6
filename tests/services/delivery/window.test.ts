import { CATCH_UP_WINDOW_MESSAGES, Window } from '../../../services/delivery/window';

const FULL = CATCH_UP_WINDOW_MESSAGES;
const always = () => true;

describe('the window of a device', () => {
  it('has room again when the last message that was written is acknowledged, whatever comes after it', async () => {
    const window = new Window();
    window.add({ topic: 'a', seq: 200, count: FULL, upTo: 204 });
    const room = window.room(always);
    expect(window.acknowledge('a', 200)).toBe(204);
    expect(await room).toBe(FULL);
  });

  it('passes entries without a message together with what came before them', () => {
    const window = new Window();
    window.add({ topic: 'a', seq: 3, count: 3, upTo: 3 });
    expect(window.pass('a', 9)).toBe(false);
    expect(window.pass('b', 9)).toBe(true);
    expect(window.acknowledge('a', 2)).toBe(2);
    expect(window.acknowledge('a', 3)).toBe(9);
    expect(window.pass('a', 12)).toBe(true);
  });

  it('counts an acknowledgement for all pages up to there, and no other topic', () => {
    const window = new Window();
    window.add({ topic: 'a', seq: 3, count: 3, upTo: 5 });
    window.add({ topic: 'b', seq: 4, count: 4, upTo: 4 });
    window.add({ topic: 'a', seq: 9, count: 4, upTo: 9 });
    expect(window.acknowledge('a', 20)).toBe(20);
    expect(window.inFlight).toBe(4);
  });

  it('releases waiting catch-ups when the topic is left, and when the connection ends', async () => {
    const window = new Window();
    window.add({ topic: 'a', seq: 200, count: FULL, upTo: 200 });
    let isWanted = true;
    const waiting = window.room(() => isWanted);
    isWanted = false;
    window.drop('b');
    expect(await waiting).toBe(0);
    const last = window.room(always);
    window.close();
    expect(await last).toBe(FULL);
    expect(window.inFlight).toBe(0);
  });
});

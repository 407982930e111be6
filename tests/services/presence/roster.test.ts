/** Nodes that publish who is connected, on a wire that loses frames. */
import type { Cluster, FrameListener, Live } from '../../../services/cluster/contract';
import type { FrameFor } from '../../../services/cluster/frames';
import { type Connection, Connections, type Transport } from '../../../services/delivery/connections';
import { Presence } from '../../../services/presence/presence';
import { Roster } from '../../../services/presence/roster';
import type { ClusterFrame } from '../../../utils/cluster-protocol';
import { clockAt } from '../../support/clock';
import { range } from '../../support/service';

/** All nodes receive what one of them publishes, unless the wire is cut. */
class Wire {
  readonly listeners = new Map<string, FrameListener>();
  isCut = false;
  lost = 0;

  join(node: string): Cluster {
    const wire = this;
    return {
      node,
      isShared: true,
      prefix: '',
      outages: 0,
      refusedFrames: 0,
      get live(): Live {
        return wire.isCut ? 'degraded' : 'ok';
      },
      publish: (frame) => this.#tell(node, frame),
      command: () => Promise.reject(new Error('no Redis')),
      open: async (listener) => void this.listeners.set(node, listener),
      close: async () => void this.listeners.delete(node),
    };
  }

  #tell(from: string, frame: ClusterFrame): void {
    if (this.isCut) this.lost += 1;
    else for (const [node, listener] of this.listeners) if (node !== from) listener(frame, from);
  }
}

class Time {
  now = Date.UTC(2026, 0, 1);
}

async function startNodes(count: number) {
  const wire = new Wire();
  const time = new Time();
  const clock = clockAt(() => time.now);
  const nodes = await Promise.all(
    range(1, count).map(async (number) => {
      const cluster = wire.join(`node ${number}`);
      const connections = new Connections();
      const presence = new Presence(clock, 1_000);
      const cursors = { sawLast: () => {} };
      const lost: number[] = [];
      const onLost = () => void lost.push(time.now);
      const roster = new Roster({ connections, cluster, presence, cursors, clock, onLost });
      await cluster.open((frame, node) => roster.receive(frame as FrameFor<'roster'>, node));
      return { cluster, roster, presence, lost };
    }),
  );
  const [one, other] = nodes;
  if (one === undefined || other === undefined) throw new Error('two nodes are needed');
  /** Time passes, with a heartbeat of every node twice a second. */
  const pass = (seconds: number) => {
    for (const _half of range(1, seconds * 2)) {
      time.now += 500;
      for (const { roster } of nodes) roster.beat();
    }
  };
  return { wire, time, nodes, one, other, pass };
}

function connectionOf(userId: string, device = 'phone'): Connection {
  const transport = { name: 'plain' } as Transport;
  return { userId, device, transport } as Partial<Connection> as Connection;
}

/** Whom a newcomer is shown. */
function lobbyOf(presence: Presence): string[] {
  const shown: { users: string[] }[] = [];
  const transport = { name: 'plain', encodeEvent: (_event, payload) => payload } as Partial<Transport> as Transport;
  const watcher = {
    transport,
    isOpen: true,
    unsentBytes: 0,
    writeFrame: (frame: unknown) => shown.push(frame as never) > 0,
  };
  void presence.watch(watcher as Partial<Connection> as Connection);
  return shown.flatMap(({ users }) => users);
}

const ALL = { limit: 1_000 };

describe('the roster', () => {
  it('notifies all nodes of who comes and goes', async () => {
    const { nodes, one, other, pass, time } = await startNodes(3);
    pass(1);
    const anna = connectionOf('anna');
    one.roster.arrived(anna);
    other.roster.arrived(connectionOf('anna', 'laptop'));
    other.roster.arrived(connectionOf('__proto__', 'constructor'));
    for (const { roster } of nodes) {
      expect(roster.usersAfter(ALL).items.toSorted()).toEqual(['__proto__', 'anna']);
      expect([roster.userCount, roster.count]).toEqual([2, 3]);
      expect(roster.statusOf('anna')).toEqual({ connected: true, sockets: 2, devices: 2 });
      expect(roster.statusOf('ben')).toEqual({ connected: false, sockets: 0, devices: 0 });
    }
    expect(one.roster.departed(anna, time.now)).toBe(true);
    expect(one.roster.departed(anna, time.now)).toBeUndefined();
    for (const { roster } of nodes) expect(roster.statusOf('anna')).toMatchObject({ sockets: 1, devices: 1 });
  });

  it('is complete for a node that joins later, even with thousands of users', async () => {
    const { one, other, pass } = await startNodes(2);
    for (const n of range(1, 2_500)) one.roster.arrived(connectionOf(`user ${n}`));
    pass(1);
    expect(other.roster.userCount).toBe(2_500);
  });

  it('repairs itself after frames were lost', async () => {
    const { wire, time, one, other, pass } = await startNodes(2);
    pass(1);
    const [anna, ben] = [connectionOf('anna'), connectionOf('ben')];
    one.roster.arrived(anna);
    wire.isCut = true;
    one.roster.departed(anna, time.now);
    one.roster.arrived(ben);
    pass(60);
    expect(wire.lost).toBeGreaterThan(100);
    // The last known state: nobody can be heard, which says nothing about who is online.
    expect(other.roster.usersAfter(ALL).items).toEqual(['anna']);
    wire.isCut = false;
    pass(1);
    expect(other.roster.usersAfter(ALL).items).toEqual(['ben']);
  });

  it('forgets a node that is silent within 30 seconds, and notifies watchers', async () => {
    const { one, other, pass, time } = await startNodes(2);
    pass(1);
    one.roster.arrived(connectionOf('anna'));
    one.roster.beat = () => {};
    pass(5);
    expect(other.roster.isOnline('anna')).toBe(true);
    expect(other.lost).toEqual([]);
    pass(10);
    expect(other.roster.isOnline('anna')).toBe(false);
    expect(other.lost).toHaveLength(1);
    time.now += 1_000;
    other.presence.sendChanges();
    expect(lobbyOf(other.presence)).toEqual([]);
  });

  it('forgets a stopping node at once', async () => {
    const { one, other, pass } = await startNodes(2);
    pass(1);
    one.roster.arrived(connectionOf('anna'));
    one.roster.close();
    one.roster.beat = () => {};
    expect(other.roster.isOnline('anna')).toBe(false);
    pass(20);
    expect(other.lost).toEqual([]);
  });

  it('does not let a user leave who is on another node', async () => {
    const { one, other, pass, time } = await startNodes(2);
    pass(1);
    const here = connectionOf('anna');
    one.roster.arrived(here);
    other.roster.arrived(connectionOf('anna'));
    expect(one.roster.departed(here, time.now)).toBe(true);
    time.now += 2_000;
    for (const { presence } of [one, other]) {
      presence.sendChanges();
      expect(lobbyOf(presence)).toEqual(['anna']);
    }
  });
});

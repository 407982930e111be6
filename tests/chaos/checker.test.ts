/** The checker is checked: made-up histories, with one fault in each. */
import { type Case, type Held, judge } from './checker';
import { type DeviceOf, History, type Place } from './history';

const PHONE: DeviceOf = { userId: 'anna', device: 'phone' };
const TABLET: DeviceOf = { userId: 'anna', device: 'tablet' };
const NAMELESS: DeviceOf = { userId: 'ben', device: undefined };

interface Story extends Case {
  /** Sends something once: tried, answered, and held. */
  say(topic: string, seq: number, key?: string): Said;
  /** A device receives messages on one of its connections, and acknowledges them if it is one that does. */
  give(device: DeviceOf, connection: number, ...messages: readonly Said[]): void;
}

interface Said extends Place {
  readonly key: string;
}

function recipientsOf(topic: string): readonly string[] {
  if (topic === '*') return ['anna', 'ben'];
  return topic.startsWith('@') ? [topic.slice(1)] : [];
}

function story(...devices: readonly DeviceOf[]): Story {
  const history = new History();
  const held = new Map<string, Held[]>();
  return {
    history,
    devices,
    recipientsOf,
    held,
    say(topic, seq, key = `key of ${topic} ${seq}`) {
      const said = { id: `id of ${topic} ${seq}`, topic, seq, key };
      history.tried(said);
      history.answered(key, said);
      for (const userId of recipientsOf(topic)) held.set(userId, [...(held.get(userId) ?? []), said]);
      return said;
    },
    give(device, connection, ...messages) {
      for (const message of messages) {
        history.delivered({ ...device, ...message, connection });
        if (device.device !== undefined) history.acked({ ...device, ...message, connection });
      }
    },
  };
}

/** Three messages to anna, and nobody has received them yet. */
function three(...devices: readonly DeviceOf[]): { one: Story; said: [Said, Said, Said] } {
  const one = story(...devices);
  return { one, said: [one.say('@anna', 1), one.say('@anna', 2), one.say('@anna', 3)] };
}

describe('accepts', () => {
  it('messages in order to every device, over topics', () => {
    const { one, said } = three(PHONE, TABLET, NAMELESS);
    const news = one.say('*', 1);
    one.give(PHONE, 1, said[0], news, said[1], said[2]);
    one.give(TABLET, 1, ...said, news);
    one.give(NAMELESS, 1, news);
    expect(judge(one)).toEqual([]);
  });

  it('messages that come again on a new connection', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, said[0], said[1]);
    one.give(PHONE, 2, ...said);
    one.give(PHONE, 3, said[2]);
    expect(judge(one)).toEqual([]);
  });

  it('messages that wait for a device, and are in the inbox', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, said[0]);
    expect(judge(one)).toEqual([]);
  });

  it('a send that was answered twice with the same', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, ...said);
    one.history.tried(said[1]);
    one.history.answered(said[1].key, said[1]);
    expect(judge(one)).toEqual([]);
  });
});

describe('refuses', () => {
  it('a message that is lost to one device', () => {
    const { one, said } = three(PHONE, TABLET);
    one.give(PHONE, 1, ...said);
    one.give(TABLET, 1, said[0], said[1]);
    one.give(TABLET, 2);
    one.held.get('anna');
    const held = new Map([['anna', said.slice(0, 2)]]);
    expect(judge({ ...one, held })).toEqual([
      expect.stringMatching(/^I1: anna\/tablet has lost @anna 3 /),
      expect.stringMatching(/^I5: the inbox of anna has 0 messages/),
    ]);
  });

  it('a message that the inbox holds, below what the device has acknowledged', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, said[1], said[2]);
    expect(judge(one)).toEqual([
      expect.stringMatching(/^I1: anna\/phone has lost @anna 1 /),
      'I3: anna/phone got @anna 2 after 0, as the first of connection 1',
    ]);
  });

  it('a message that comes twice on one connection', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, said[0], said[1], said[1], said[2]);
    expect(judge(one)).toEqual(['I3: anna/phone got @anna 2 after 2, on connection 1']);
  });

  it('a message that is there twice under two ids', () => {
    const { one, said } = three(PHONE);
    const again = { ...said[2], id: 'another id', seq: 4 };
    one.give(PHONE, 1, ...said, again);
    expect(judge(one)).toEqual([
      'I2: the intent key of @anna 3 has become @anna 3 (id of @anna 3) and @anna 4 (another id)',
    ]);
  });

  it('a message with one id at two positions', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, ...said, { ...one.say('@anna', 4), id: said[0].id });
    expect(judge(one)).toContain('I2: the id id of @anna 1 has become @anna 1 and @anna 4');
  });

  it('one position with two messages', () => {
    const { one, said } = three(PHONE, TABLET);
    one.give(PHONE, 1, ...said);
    one.give(TABLET, 1, said[0], { ...one.say('@anna', 2, 'another'), id: 'another id' }, said[2]);
    expect(judge(one)).toContain('I2: the place @anna 2 has become id of @anna 2 and another id');
  });

  it('messages in another order', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, said[0], said[2], said[1]);
    expect(judge(one)).toEqual([
      'I3: anna/phone got @anna 3 after 1, on connection 1',
      'I3: anna/phone got @anna 2 after 3, on connection 1',
    ]);
  });

  it('a message of another user, and one of a topic without members', () => {
    const { one, said } = three(PHONE, NAMELESS);
    one.give(PHONE, 1, ...said);
    one.give(NAMELESS, 1, said[0], one.say('secrets', 1));
    expect(judge(one)).toEqual([
      'I4: ben/(no name) got @anna 1, which is not theirs',
      'I4: ben/(no name) got secrets 1, which is not theirs',
    ]);
  });

  it('a message that nobody has sent there', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, ...said, { id: 'x', topic: '@anna', seq: 4, key: 'never said' });
    expect(judge(one)).toEqual(['I4: anna/phone got @anna 4, where nobody has said “never said”']);
  });

  it.each([
    ['on one connection', 1, 'on connection 1'],
    ['between two connections', 2, 'as the first of connection 2'],
  ])('a message that is skipped %s', (_name, connection, where) => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, said[0]);
    one.give(PHONE, connection, said[2]);
    expect(judge(one)).toEqual([
      expect.stringMatching(/^I1: anna\/phone has lost @anna 2 /),
      `I3: anna/phone got @anna 3 after 1, ${where}`,
    ]);
  });

  it('a skip that a later connection fills: it came out of order', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, said[0], said[2]);
    one.give(PHONE, 2, said[1], said[2]);
    expect(judge(one)).toEqual(['I3: anna/phone got @anna 3 after 1, on connection 1']);
  });

  it('an intent that was answered with two ids', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, ...said);
    one.history.answered(said[0].key, { ...said[0], id: 'another id' });
    expect(judge(one)).toContain(
      'I5: the key key of @anna 1 has become @anna 1 (id of @anna 1) and @anna 1 (another id)',
    );
  });

  it('an intent whose message the inbox holds twice, or not', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, ...said);
    const held = new Map([['anna', [said[0], said[0], said[2]]]]);
    expect(judge({ ...one, held })).toEqual([
      'I5: the inbox of anna has 2 messages of the key key of @anna 1 (id of @anna 1)',
      'I5: the inbox of anna has 0 messages of the key key of @anna 2 (id of @anna 2)',
    ]);
  });

  it('an intent that was never answered', () => {
    const { one, said } = three(PHONE);
    one.give(PHONE, 1, ...said);
    one.history.tried({ key: 'unheard', topic: '@anna' });
    expect(judge(one)).toEqual(['I5: the key unheard was never answered']);
  });

  it('what a round has reported', () => {
    const { one } = three(PHONE);
    one.history.complain('anna/phone was told a reset');
    expect(judge(one)).toEqual(['anna/phone was told a reset']);
  });
});

describe('where connections broke with something in flight', () => {
  it('a client without a device may miss it, at the beginning of a connection', () => {
    const one = story(NAMELESS);
    const said = [one.say('@ben', 1), one.say('@ben', 2), one.say('@ben', 3)] as const;
    one.give(NAMELESS, 1, said[0]);
    one.give(NAMELESS, 2, said[2]);
    expect(judge({ ...one, hasLostBuffers: true })).toEqual([]);
    expect(judge(one)).toHaveLength(2);
  });

  it('it may not within a connection, nor may a device', () => {
    const { one, said } = three(PHONE);
    const told = [one.say('@ben', 1), one.say('@ben', 2), one.say('@ben', 3)] as const;
    one.give(NAMELESS, 1, told[0], told[2]);
    one.give(PHONE, 1, said[0]);
    one.give(PHONE, 2, said[2]);
    expect(judge({ ...one, devices: [PHONE, NAMELESS], hasLostBuffers: true })).toEqual([
      expect.stringMatching(/^I1: anna\/phone has lost @anna 2 /),
      'I3: anna/phone got @anna 3 after 1, as the first of connection 2',
      'I3: ben/(no name) got @ben 3 after 1, on connection 1',
    ]);
  });
});

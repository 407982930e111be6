/** Reads the Prometheus text format strictly: whatever does not match the format is an error. */
import { createMetrics, type Metrics, registerGauges } from '../../services/observability/metrics';
import { exchange } from './http';

export interface Sample {
  /** With the suffix of its kind: `_bucket`, `_sum`, `_count`. */
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** All lines about one metric. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly samples: readonly Sample[];
}

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const HELP = new RegExp(`^# HELP (${NAME}) (.+)$`);
const TYPE = new RegExp(`^# TYPE (${NAME}) (counter|gauge|histogram|summary|untyped)$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)$`);
/** One label and, unless it is the last one, the comma after it. */
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,(?=.)|$)/y;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] };

export class Scrape {
  constructor(readonly families: readonly Family[]) {}

  /** The value of a series as it is written, or the sum of those with its labels. @throws Error if there is none. */
  value(series: string): number {
    const wanted = parseSample(`${series} 0`);
    const found = this.families
      .flatMap(({ samples }) => samples)
      .filter(({ name, labels }) => name === wanted.name && hasLabels(labels, wanted.labels));
    if (found.length === 0) throw new Error(`there is no series ${series}`);
    return found.reduce((sum, { value }) => sum + value, 0);
  }
}

function hasLabels(labels: Sample['labels'], wanted: Sample['labels']): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

/** @throws Error naming the line that does not match. */
export function parseMetrics(text: string): Scrape {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, Family & { samples: Sample[] }>();
  let help: RegExpExecArray | null = null;
  let current: (Family & { samples: Sample[] }) | undefined;
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const type = TYPE.exec(line);
    if (line.startsWith('# HELP ')) help = HELP.exec(line);
    else if (type !== null) {
      const [, name = '', kind = ''] = type;
      if (help === null || help[1] !== name) throw new Error(`no HELP before: ${line}`);
      if (families.has(name)) throw new Error(`twice: ${line}`);
      current = { name, help: help[2] ?? '', type: kind, samples: [] };
      families.set(name, current);
    } else {
      const sample = parseSample(line);
      const names = (SUFFIXES[current?.type ?? ''] ?? ['']).map((suffix) => `${current?.name}${suffix}`);
      if (current === undefined || !names.includes(sample.name)) throw new Error(`not where it belongs: ${line}`);
      current.samples.push(sample);
    }
  }
  return new Scrape([...families.values()]);
}

function parseSample(line: string): Sample {
  const [, name, labels = '', value] = SAMPLE.exec(line) ?? [];
  if (name === undefined || value === undefined) throw new Error(`no sample: ${line}`);
  return { name, labels: parseLabels(labels, line), value: parseValue(value, line) };
}

function parseLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  for (let from = 0; from < text.length; from = LABEL.lastIndex) {
    LABEL.lastIndex = from;
    const [, label, value = ''] = LABEL.exec(text) ?? [];
    if (label === undefined || label in labels) throw new Error(`labels that cannot be read: ${line}`);
    labels[label] = value.replaceAll(/\\(.)/g, (_all, sign: string) => (sign === 'n' ? '\n' : sign));
  }
  return labels;
}

function parseValue(text: string, line: string): number {
  const special: Readonly<Record<string, number>> = { '+Inf': Infinity, '-Inf': -Infinity, Nan: NaN, NaN: NaN };
  const value = special[text] ?? Number(text);
  if (Number.isNaN(value) && !(text in special)) throw new Error(`no number: ${line}`);
  return value;
}

export async function scrape(url: string): Promise<Scrape> {
  const { status, text } = await exchange(url, { path: '/metrics' });
  if (status !== 200) throw new Error(`/metrics answered ${status}`);
  return parseMetrics(text);
}

/** All metrics of a service in which nothing has happened. */
export function idleMetrics(): Metrics {
  const metrics = createMetrics();
  const none = () => 0;
  registerGauges(metrics.registry, {
    connections: none,
    users: none,
    catchUps: none,
    queuedWrites: none,
    unwrittenCursors: none,
    isLive: () => true,
    outages: none,
    refusedFrames: none,
    balance: () => ({ places: 0 }),
    nodes: none,
    places: none,
    handshakes: none,
    readsRunning: none,
    readsWaiting: none,
    untakenAnswers: none,
    untakenBytes: none,
  });
  return metrics;
}

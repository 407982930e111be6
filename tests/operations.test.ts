/** The dashboard and the alert rules ask for metrics that exist, with labels they have, in ways that mean something. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Family, idleMetrics, parseMetrics } from './support/metrics';

const DIRECTORY = join(__dirname, '../docs/operations');

interface Target {
  readonly expr: string;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly (Target & { datasource: { readonly uid: string } })[];
}

interface Dashboard {
  readonly id?: number;
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { name: string; type: string; definition?: string }[] };
}

const dashboard = JSON.parse(readFileSync(join(DIRECTORY, 'grafana-dashboard.json'), 'utf8')) as Dashboard;
const alerts = readFileSync(join(DIRECTORY, 'alerts.yml'), 'utf8');
const monitoring = readFileSync(join(DIRECTORY, 'monitoring.md'), 'utf8');

const rules = alerts.split(/^ {6}- alert: /m).slice(1);
const nameOf = (rule: string) => rule.split('\n')[0] ?? '';
const exprOf = (rule: string) => /^ {8}expr: (.+)$/m.exec(rule)?.[1] ?? '';

const EXPRESSIONS: [where: string, expr: string][] = [
  ...dashboard.panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ expr }): [string, string] => [`panel ${title}`, expr]),
  ),
  ...rules.map((rule): [string, string] => [`alert ${nameOf(rule)}`, exprOf(rule)]),
];

/** What Prometheus adds to whatever it scrapes. */
const TARGET_LABELS = ['job', 'instance'];
/** Prometheus' own: whether a scrape succeeded. */
const UP = 'up';

let families: ReadonlyMap<string, Family>;

beforeAll(async () => {
  const { families: all } = parseMetrics(await idleMetrics().scrape());
  families = new Map(all.map((family) => [family.name, family]));
});

interface Use {
  /** As it stands there, with the suffix of a histogram. */
  readonly name: string;
  readonly labels: readonly string[];
  /** What it is the first argument of. */
  readonly within: string | undefined;
}

const KEYWORDS = new Set(['by', 'and', 'or', 'unless', 'on', 'without', 'ignoring', 'bool']);

/** The metrics of an expression. What stands in quotes and behind `by` is no name of one. */
function usesOf(expr: string): Use[] {
  const text = expr.replaceAll(/\bby \([^)]*\)/g, (list) => ' '.repeat(list.length));
  const selectors = text.matchAll(/\b([a-zA-Z_:][\w:]*)\b(?!\s*\()(?:\{([^}]*)\})?/g);
  const outside = text.replaceAll(/\{[^}]*\}|\[[^\]]*\]/g, (part) => ' '.repeat(part.length));
  return Array.from(selectors).flatMap(({ index, 1: name = '', 2: matchers = '' }) => {
    if (KEYWORDS.has(name) || !outside.startsWith(name, index)) return [];
    const within = /(\w+)\($/.exec(text.slice(0, index))?.[1];
    return { name, labels: Array.from(matchers.matchAll(/(\w+)(?:=~|!~|!=|=)"/g), ([, label = '']) => label), within };
  });
}

const groupsOf = (expr: string) => Array.from(expr.matchAll(/\bby \(([^)]*)\)/g), ([, list = '']) => list.split(/, */));

function familyOf(name: string): Family | undefined {
  return families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
}

function labelsOf(name: string): string[] {
  const family = familyOf(name);
  const samples = family?.samples.filter((sample) => sample.name === name) ?? [];
  return [...new Set(samples.flatMap(({ labels }) => Object.keys(labels)))];
}

describe.each(EXPRESSIONS)('%s: %s', (_where, expr) => {
  const uses = usesOf(expr).filter(({ name }) => name !== UP);

  it('names metrics that exist', () => {
    expect(usesOf(expr).length).toBeGreaterThan(0);
    expect(uses.filter(({ name }) => familyOf(name) === undefined)).toEqual([]);
  });

  it('names labels that they have', () => {
    const unknown = uses.flatMap(({ name, labels }) =>
      labels.filter((label) => ![...labelsOf(name), ...TARGET_LABELS].includes(label)),
    );
    const known = uses.flatMap(({ name }) => labelsOf(name));
    const grouped = groupsOf(expr).flat();
    expect(unknown).toEqual([]);
    expect(grouped.filter((label) => ![...known, ...TARGET_LABELS].includes(label))).toEqual([]);
  });

  it('query what their types can answer', () => {
    for (const { name, within } of uses) {
      const { type } = familyOf(name) ?? {};
      const isRate = within === 'rate' || within === 'increase';
      // A histogram has no series of its own name.
      if (type === 'histogram') expect(name).toMatch(/_(bucket|sum|count)$/);
      expect({ name, isRate }).toEqual({ name, isRate: type !== 'gauge' });
      if (!name.endsWith('_bucket')) continue;
      expect(expr).toContain('histogram_quantile(');
      expect(groupsOf(expr)).not.toEqual([]);
      for (const labels of groupsOf(expr)) expect(labels).toContain('le');
    }
  });
});

describe('the dashboard', () => {
  it('can be imported anywhere: its data source is a variable, and it has no id of some Grafana', () => {
    const { list } = dashboard.templating;
    expect(list[0]).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' });
    expect(dashboard.id).toBeUndefined();
    expect(dashboard.schemaVersion).toBeGreaterThanOrEqual(39);
    const charts = dashboard.panels.filter(({ type }) => type !== 'row');
    for (const { datasource, targets = [] } of charts) {
      for (const { uid } of [datasource, ...targets.map((target) => target.datasource)].flatMap((one) => one ?? [])) {
        expect(uid).toBe(`$${'{datasource}'}`);
      }
    }
    expect(charts.filter(({ datasource, targets = [] }) => datasource === undefined || targets.length === 0)).toEqual(
      [],
    );
  });

  it('has variables that metrics can fill', () => {
    for (const { definition } of dashboard.templating.list.slice(1)) {
      expect([...families.keys()]).toContain(/^label_values\((\w+)/.exec(definition ?? '')?.[1]);
    }
  });

  it('is in rows, has a word on each panel, and no panel overlaps another', () => {
    const rows = dashboard.panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    expect(rows).toEqual(['Traffic', 'Delivery', 'Health', 'Store', 'Cluster']);
    const charts = dashboard.panels.filter(({ type }) => type !== 'row');
    expect(charts.filter(({ description = '' }) => !description.endsWith('.'))).toEqual([]);
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      expect(x + w).toBeLessThanOrEqual(24);
      return Array.from({ length: w * h }, (_value, n) => `${x + (n % w)},${y + Math.floor(n / w)}`);
    });
    expect(new Set(cells).size).toBe(cells.length);
  });

  it('shows each metric of the service', () => {
    const shown = new Set(
      dashboard.panels
        .flatMap(({ targets = [] }) => targets)
        .flatMap(({ expr }) => usesOf(expr))
        .map(({ name }) => familyOf(name)?.name),
    );
    const own = [...families.keys()].filter((name) => name.startsWith('tidings_'));
    expect(own.filter((name) => !shown.has(name))).toEqual([]);
  });
});

describe('the alert rules', () => {
  it('are complete: what is wrong, how bad, and what it means', () => {
    expect(rules.length).toBeGreaterThan(0);
    for (const rule of rules) {
      expect(rule).toMatch(/^ {10}severity: (critical|warning)$/m);
      for (const annotation of ['summary', 'description']) {
        expect(rule).toMatch(new RegExp(`^ {10}${annotation}: "[^"]+"$`, 'm'));
      }
    }
  });

  it('have their reasons in monitoring.md, each one and no others', () => {
    const explained = Array.from(monitoring.matchAll(/^\| `(Tidings\w+)` \|/gm), ([, name]) => name);
    expect(explained).toEqual(rules.map(nameOf));
  });
});

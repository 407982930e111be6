/**
 * A guide, followed by a reader who does exactly what it says:
 * - a block below "Save this as `NAME`" becomes that file;
 * - a block of `sh` is typed in the terminal, where it has to succeed; below a paragraph that says "a separate
 *   terminal" it is started there, and runs until a paragraph mentions Ctrl-C;
 * - a block of `text` or `json` is what is printed: by the last command, otherwise by what runs in the separate
 *   terminal. Lines that begin with `> ` are typed there. Ids and times differ, `…` stands for anything, and blanks
 *   between the parts of JSON do not matter.
 *
 * Only the port in the service's address is changed. A token is made once for all guides.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from './process';
import { startService, type TestService } from './service';
import { onTestEnd, temporaryDirectory } from './temporary';

const ROOT = join(__dirname, '../..');
/** Go compiles its library first. */
const PATIENCE_MS = process.env['TEST_GO'] === 'true' ? 100_000 : 30_000;
/** What the commands of guides need from the directory of the service. */
const PROJECT = ['package.json', 'node_modules', 'dist', 'scripts'];
/** The port in every guide, and the address in its output. */
const PORT = '8090';
const ADDRESS = `localhost:${PORT}`;
const SECRET = 'a secret for guides that has more than thirty-two bytes';
/** Installs or starts what a test already has. */
const BY_HAND = /^(?:npm (?:ci|install|start|test)\b|python3 -m venv|\S*pip install)/m;

export interface Block {
  readonly section: string;
  /** The paragraph above. */
  readonly lead: string;
  readonly language: string;
  readonly text: string;
}

const BLOCK = /^```(\w*)\n(.*?)\n```$/gms;

/** The code blocks of a page, in order. */
export function blocksOf(markdown: string): Block[] {
  const blocks: Block[] = [];
  let section = '';
  let end = 0;
  for (const { 0: whole, 1: language = '', 2: text = '', index } of markdown.matchAll(BLOCK)) {
    const prose = markdown.slice(end, index).trimEnd();
    section = [...prose.matchAll(/^#+ (.+)$/gm)].at(-1)?.[1] ?? section;
    blocks.push({ section, lead: prose.split('\n\n').at(-1)?.replaceAll('\n', ' ') ?? '', language, text });
    end = index + whole.length;
  }
  return blocks;
}

/** The commands of a page that a test does not run, because they install or start something. */
export function commandsByHand(page: string): string[] {
  const blocks = blocksOf(readFileSync(join(ROOT, page), 'utf8'));
  return blocks.filter(({ language, text }) => language === 'sh' && BY_HAND.test(text)).map(({ text }) => text);
}

const tokens = new Map<string, string>();
const TOKEN_COMMAND = /\$\((npm run --silent token -- [^)]+)\)/g;

export interface GuideOptions {
  readonly env?: Record<string, string>;
  /** Where requests go instead of to the service: a port. */
  readonly through?: (service: TestService) => Promise<number>;
}

/** Opens a page with its own service, in its own directory that looks like that of the service. */
export async function openGuide(page: string, options: GuideOptions = {}): Promise<Guide & { service: TestService }> {
  const directory = temporaryDirectory();
  for (const name of PROJECT) symlinkSync(join(ROOT, name), join(directory, name));
  mkdirSync(join(directory, 'data'));
  writeFileSync(join(directory, 'data/development-jwt-secret'), SECRET);
  const service = await startService({ env: { DATA_DIR: join(directory, 'data'), JWT_SECRET: '', ...options.env } });
  const port = (await options.through?.(service)) ?? Number(new URL(service.url).port);
  return Object.assign(new Guide(page, directory, port), { service });
}

/** Opens a page in the directory of another program, which has the service installed. */
export async function openGuideOfProgram(page: string): Promise<Guide> {
  const directory = temporaryDirectory();
  mkdirSync(join(directory, 'node_modules'));
  symlinkSync(ROOT, join(directory, 'node_modules/tidings'));
  return new Guide(page, directory, await freePort());
}

export class Guide {
  readonly #blocks: readonly Block[];
  readonly #terminal: Terminal;
  /** The separate terminal, while something runs there. */
  #own: Terminal | undefined;
  /** What the last command printed and the guide has not shown yet. */
  printed = '';

  constructor(
    page: string,
    readonly directory: string,
    private readonly port: number,
  ) {
    this.#blocks = blocksOf(readFileSync(join(ROOT, page), 'utf8'));
    this.#terminal = new Terminal('bash', directory);
  }

  /** Follows the sections with these names; without names the whole guide, to its end. */
  async follow(...sections: readonly string[]): Promise<void> {
    const unknown = sections.filter((name) => !this.#blocks.some(({ section }) => section === name));
    if (unknown.length > 0) throw new Error(`there is no section ${unknown.join(', ')}`);
    const isWhole = sections.length === 0;
    for (const block of this.#blocks) if (isWhole || sections.includes(block.section)) await this.#take(block);
    this.#assertNoProblem();
    if (isWhole) await this.#endOwn();
  }

  /** A user's token, as the guides make it. */
  async token(userId: string): Promise<string> {
    return this.#withTokens(`$(npm run --silent token -- --sub ${userId})`);
  }

  async #take(block: Block): Promise<void> {
    const { lead, language, text } = block;
    const [, file] = /[Ss]ave this as `([^`]+)`/.exec(lead) ?? [];
    if (lead.includes('Ctrl-C')) await this.#endOwn();
    if (file !== undefined) this.#save(file, text);
    else if (language === 'sh') await this.#type(block);
    else if (language === 'text' || language === 'json') await this.#expect(block);
    else throw new Error(`nobody can follow this block of ${language || 'no language'}:\n${text}`);
  }

  /** As an editor does, which creates the directory. */
  #save(file: string, text: string): void {
    const path = join(this.directory, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, this.#here(text));
  }

  /** A text of the guide, adapted to the service that runs here. */
  #here(text: string): string {
    return text.replaceAll(PORT, String(this.port));
  }

  async #type({ lead, text }: Block): Promise<void> {
    this.#assertNoProblem();
    if (BY_HAND.test(text)) return;
    const command = await this.#withTokens(this.#here(text));
    if (!lead.includes('separate terminal')) {
      this.printed = await this.#terminal.run(command);
      return;
    }
    if (this.#own !== undefined) throw new Error(`what runs in the other terminal has to be ended before:\n${text}`);
    this.#own = new Terminal(command, this.directory);
    await this.#own.hasPrinted();
  }

  async #withTokens(command: string): Promise<string> {
    for (const [, making = ''] of command.matchAll(TOKEN_COMMAND)) {
      if (!tokens.has(making)) tokens.set(making, (await this.#terminal.run(making)).trim());
    }
    return command.replaceAll(TOKEN_COMMAND, (_all, making: string) => tokens.get(making) ?? '');
  }

  /** What the reader pastes from the other terminal. */
  async #withVariables(line: string): Promise<string> {
    const [, name] = /\$([A-Z_]+)/.exec(line) ?? [];
    if (name === undefined) return line;
    const value = await this.#terminal.run(`echo "$${name}"`);
    return line.replace(`$${name}`, value);
  }

  async #endOwn(): Promise<void> {
    await this.#own?.interrupt();
    this.#own = undefined;
  }

  /** Output that nobody checks must not be a refusal: curl succeeds on those too. */
  #assertNoProblem(): void {
    if (this.printed.includes('/docs/errors#')) throw new Error(`refused:\n${this.printed}`);
  }

  async #expect({ language, text }: Block): Promise<void> {
    const printed = this.printed;
    const pattern = patternOf(text, language);
    if (pattern.test(comparable(this.#there(printed), language))) {
      this.printed = '';
      return;
    }
    if (this.#own === undefined) throw new Error(`the guide shows:\n${text}\nprinted was:\n${printed}`);
    for (const line of text.split('\n')) {
      if (line.startsWith('> ')) this.#own.type(await this.#withVariables(line.slice(2)));
      else await this.#own.line((seen) => this.#isShown(line, seen), line);
    }
  }

  #isShown(line: string, seen: string): boolean {
    return patternOf(line.replace(/^< /, ''), 'text').test(comparable(this.#there(seen), 'text'));
  }

  /** What was printed here, as the guide would show it. */
  #there(text: string): string {
    return text.replaceAll(`localhost:${this.port}`, ADDRESS);
  }
}

/** What differs from run to run. */
const VARYING: readonly (readonly [RegExp, string])[] = [
  [/"socketId":"[^"]*"/g, '"socketId":"ID"'],
  [/\b[0-9A-HJKMNP-TV-Z]{26}\b|\bkey-[\w-]{22}/g, 'ID'],
  [/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, 'ID'],
  [/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z/g, 'TIME'],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, 'TOKEN'],
];

function comparable(text: string, language: string): string {
  let result = text.trim();
  for (const [varying, name] of VARYING) result = result.replaceAll(varying, name);
  // Topics are caught up with at the same time.
  result = result.replaceAll(/(?<="cursors":\{)[^}]*/g, (cursors) => cursors.split(',').sort().join());
  if (language === 'text') return result.replaceAll(/[ \t]+$/gm, '');
  // Blanks outside of strings.
  return result.replaceAll(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');
}

function patternOf(text: string, language: string): RegExp {
  const parts = comparable(text, language).split('…');
  const escaped = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&'));
  return new RegExp(`^${escaped.join('[^"\\n]*')}$`);
}

/** What wscat prints after each typed line. */
const PROMPTS = /^(?:> )+/;

/** A shell with one command, or one that reads them. */
class Terminal {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #ended: Promise<unknown>;
  readonly #lines: string[] = [];
  readonly #complaints: string[] = [];
  readonly #waiting = new Set<() => void>();
  /** Where steps are kept: not among the reader's files. */
  readonly #steps = mkdtempSync(join(tmpdir(), 'tidings-steps-'));
  #isEnded = false;
  #count = 0;

  constructor(command: string, directory: string) {
    const path = [dirname(process.execPath), process.env['PATH'] ?? ''].join(delimiter);
    const { HOME = directory, LANG = 'C.UTF-8' } = process.env;
    this.#child = spawn('bash', command === 'bash' ? [] : ['-c', command], {
      cwd: directory,
      env: { PATH: path, HOME, LANG, PYTHONUNBUFFERED: '1' },
      detached: true,
      stdio: 'pipe',
    });
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(line.replace(PROMPTS, '')));
    createInterface({ input: this.#child.stderr }).on('line', (line) => this.#complaints.push(line));
    // Commands find a terminal at which nobody types: neither the lines of this shell, nor an end.
    if (command === 'bash')
      this.#child.stdin.write(`mkfifo '${this.#steps}/nobody' && exec 3<>'${this.#steps}/nobody'\n`);
    // Lines typed after the end are lost, as at a terminal.
    this.#child.stdin.on('error', () => undefined);
    this.#ended = once(this.#child, 'close').then(() => {
      this.#isEnded = true;
      this.#wake();
    });
    onTestEnd(async () => {
      this.#signal('SIGKILL');
      await this.#ended;
      rmSync(this.#steps, { recursive: true, force: true });
    });
  }

  #take(line: string): void {
    if (line === '') return;
    this.#lines.push(line);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** To the shell and what it has started. */
  #signal(signal: NodeJS.Signals): void {
    const { pid } = this.#child;
    if (pid !== undefined && !this.#isEnded) process.kill(-pid, signal);
  }

  /** Runs a command in this shell. @returns what it printed. @throws when it fails. */
  async run(command: string): Promise<string> {
    this.#count += 1;
    const end = `step ${this.#count} has ended`;
    const step = join(this.#steps, `${this.#count}.sh`);
    writeFileSync(step, `set -eo pipefail\n${command}\nset +e\n`);
    this.#child.stdin.write(`source '${step}' <&3; printf '\\n%s\\n' '${end}'\n`);
    await this.#until(() => this.#lines.at(-1) === end, command);
    return this.#lines.splice(0).slice(0, -1).join('\n');
  }

  type(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  /** Waits for the first line. */
  async hasPrinted(): Promise<void> {
    await this.#until(() => this.#lines.length > 0, 'anything printed');
  }

  /** The next line has to be this one. */
  async line(isExpected: (line: string) => boolean, expected: string): Promise<void> {
    await this.#until(() => this.#lines.length > 0, expected);
    const line = this.#lines.shift() ?? '';
    if (isExpected(line)) return;
    const seen = [line, ...this.#lines, ...this.#complaints].join('\n');
    throw new Error(`the guide shows:\n${expected}\nprinted was:\n${seen}`);
  }

  /** Ctrl-C. */
  async interrupt(): Promise<void> {
    this.#signal('SIGINT');
    await this.#ended;
    if (this.#lines.length > 0) throw new Error(`printed, and not shown by the guide:\n${this.#lines.join('\n')}`);
  }

  #until(isReached: () => boolean, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        settle();
      };
      const fail = (when: string) => {
        const seen = [...this.#lines, ...this.#complaints].join('\n');
        finish(() => reject(new Error(`${when}:\n${what}\nprinted was:\n${seen}`)));
      };
      const look = () => {
        if (isReached()) finish(resolve);
        else if (this.#isEnded) fail('the shell ended at');
      };
      const timer = setTimeout(() => fail(`not within ${PATIENCE_MS} ms`), PATIENCE_MS);
      this.#waiting.add(look);
      look();
    });
  }
}

/** Loaded before a script (`tsx --require`): reads `.env` where there is one, as Node's --env-file does, silently. */
import { existsSync } from 'node:fs';

const PATH = '.env';

if (existsSync(PATH)) process.loadEnvFile(PATH);

/** Loaded before a program (`--require`): reads `.env` if it exists. Node's --env-file-if-exists announces a missing file. */
import { existsSync } from 'node:fs';

const PATH = '.env';

if (existsSync(PATH)) process.loadEnvFile(PATH);

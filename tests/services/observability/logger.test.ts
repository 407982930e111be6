/** Tokens are removed from what is logged, in time that grows with its length. */
import { redact } from '../../../services/observability/logger';

it.each([
  ['/eyJhbGciOi.eyJzdWIi.c2ln', '/[redacted]'],
  ['/eyJhbGciOi.eyJzdWIi', '/[redacted]'],
  ['/ws?token=eyJhbGciOi.eyJzdWIi.c2ln&device=a', '/ws?token=[redacted]&device=a'],
  ['/ws?device=a&token=secret#x', '/ws?device=a&token=[redacted]#x'],
  ['the token eyJhbGciOi.eyJzdWIi.c2ln was refused', 'the token [redacted] was refused'],
  ['eyJeyJeyJhbGciOi.eyJzdWIi.c2ln', '[redacted]'],
  ['/topics/eyJustaname', '/topics/eyJustaname'],
  ['/a.b.c', '/a.b.c'],
])('%s', (text, redacted) => {
  expect(redact(text)).toBe(redacted);
});

it.each([
  ['beginnings of tokens', 'eyJ'],
  ['parameters', '?token='],
  ['dots', 'eyJ.'],
])('many %s take no time', (_name, part) => {
  const startedAt = performance.now();
  redact(part.repeat(300_000));
  expect(performance.now() - startedAt).toBeLessThan(1_000);
});

/**
 * An address of a server for the eyes of operators: scheme, hosts and path. Everything up to the last @ goes, and the
 * options: more than the password, but a password may hold any sign, and an address may be none that URL reads.
 */
export function hideCredentials(address: string): string {
  const scheme = /^[a-z+]*:\/\//.exec(address)?.[0] ?? '';
  const rest = address.slice(scheme.length);
  const end = rest.lastIndexOf('@');
  const place = (end === -1 ? rest : rest.slice(end + 1)).split('?')[0] ?? '';
  return `${scheme}${end === -1 ? '' : '***@'}${place}`;
}

/**
 * A server address as shown to operators: scheme, hosts and path. Everything up to the last @ is removed, and so are
 * the options. That is more than the password, but a password may contain any character, and URL may not be able to
 * parse the address.
 */
export function hideCredentials(address: string): string {
  const scheme = /^[a-z+]*:\/\//.exec(address)?.[0] ?? '';
  const rest = address.slice(scheme.length);
  const end = rest.lastIndexOf('@');
  const place = (end === -1 ? rest : rest.slice(end + 1)).split('?')[0] ?? '';
  return `${scheme}${end === -1 ? '' : '***@'}${place}`;
}

/** The users whose tokens the service gives to this page: see docs/decisions/0015. */
export const DEVELOPMENT_USERS: readonly string[] = (
  document.querySelector<HTMLMetaElement>('meta[name="development-users"]')?.content ?? ''
)
  .split(' ')
  .filter((user) => user !== '');

/** The compatible topic service spells `subscribe` like this; its clients still do. */
export const MISSPELT_SUBSCRIBE = 'suscribe';

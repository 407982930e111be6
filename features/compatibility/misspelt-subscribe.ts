/** How the compatible topic service spells `subscribe`; its clients still do. */
export const MISSPELT_SUBSCRIBE = 'suscribe';

/** Loaded into a node before it starts (NODE_OPTIONS): on SIGWINCH its event loop stands still for STALL_MS. */
process.on('SIGWINCH', () => {
  const end = performance.now() + Number(process.env.STALL_MS);
  while (performance.now() < end);
  console.log(JSON.stringify({ msg: 'stalled' }));
});

/** CLUSTER_SECRET: nodes that have it trust each other, and nobody else. */
import { MONGODB_URL, newDatabase, REDIS_URL, startCluster } from '../support/cluster';
import { eventually } from '../support/eventually';
import { parseMetrics } from '../support/metrics';
import { describeWith } from '../support/needs';
import type { TestService } from '../support/service';

const describeCluster = describeWith(
  'MongoDB (TEST_MONGODB_URL) and Redis (TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
);

async function refused({ anonymous }: TestService): Promise<number> {
  const { text } = await anonymous.get('/metrics').expect(200);
  return parseMetrics(text).value('tidings_cluster_frames_refused_total') ?? 0;
}

describeCluster('nodes with a secret', () => {
  it('notify each other at once, and refuse the frames of a node without it, which receives theirs', async () => {
    const storeUrl = newDatabase();
    const env = { CLUSTER_SECRET: 'a secret of all nodes, of more than 32 bytes' };
    const [here, there] = await startCluster({ storeUrl, env });
    const [outside] = await startCluster({ storeUrl, nodes: 1 });
    if (here === undefined || there === undefined || outside === undefined) throw new Error('three nodes are needed');
    const [far, heard] = [await there.connect('anna'), await outside.connect('ben')];
    for (const client of [far, heard]) await client.next('sync:done');
    await here.send('anna', [1]);
    await here.send('ben', [1]);
    expect(await far.messages(1)).toHaveLength(1);
    expect(await heard.messages(1)).toHaveLength(1);
    // Who is connected to the node without the secret is not believed to be.
    expect((await here.api.get('/websocket/users/anna/status').expect(200)).body).toMatchObject({ connected: true });
    expect((await here.api.get('/websocket/users/ben/status').expect(200)).body).toMatchObject({ connected: false });
    expect(
      await eventually(
        () => refused(here),
        (count) => count > 0,
      ),
    ).toBeGreaterThan(0);
    expect(await refused(outside)).toBe(0);
    // What it sends is found by comparing with the store.
    await outside.send('anna', [2]);
    expect(await far.messages(1)).toHaveLength(1);
  });
});

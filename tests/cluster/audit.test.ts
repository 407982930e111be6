/** One audit log for all nodes. */
import { MONGODB_URL, REDIS_URL, startCluster } from '../support/cluster';
import { eventually } from '../support/eventually';
import { describeWith } from '../support/needs';
import { range, type TestService } from '../support/service';

const describeCluster = describeWith(
  'MongoDB and Redis (TEST_MONGODB_URL, TEST_REDIS_URL)',
  MONGODB_URL !== undefined && REDIS_URL !== undefined,
);

interface Entry {
  readonly id: string;
  readonly action: string;
  readonly target: string;
}

async function entries(service: TestService): Promise<Entry[]> {
  return ((await service.api.get('/audit').expect(200)).body as { items: Entry[] }).items;
}

describeCluster('the audit log of two nodes', () => {
  it('has the actions on each node, the same on both, in one order', async () => {
    const services = await startCluster();
    for (const n of range(1, 3)) {
      for (const service of services) await service.send(`user ${n}`, [n]);
    }
    for (const service of services) {
      const found = await eventually(
        () => entries(service),
        ({ length }) => length === 6,
      );
      const targets = found.map(({ target }) => target);
      expect(targets).toEqual(['@user 3', '@user 3', '@user 2', '@user 2', '@user 1', '@user 1']);
    }
    const [here, there] = await Promise.all(services.map(entries));
    expect(here).toEqual(there);
  });

  it('has an administrator’s action on all of them before the answer', async () => {
    const [here, there] = await startCluster();
    await here?.api.delete('/users/anna/data').expect(200);
    const found = there === undefined ? [] : await entries(there);
    expect(found).toEqual([expect.objectContaining({ action: 'erase', outcome: 'done', target: '@anna' })]);
  });
});

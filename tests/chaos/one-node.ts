/** A node alone on its embedded store. */
import { temporaryDirectory } from '../support/temporary';
import { ChaosNode, type NodeParts } from './node';

/** One that serves, on a directory of its own. */
export async function startOne(parts: Partial<NodeParts> = {}): Promise<ChaosNode> {
  const { name = 'node', env = {}, under = [] } = parts;
  const node = await ChaosNode.start({ name, under, env: { DATA_DIR: temporaryDirectory(), ...env } });
  await node.healthy();
  return node;
}

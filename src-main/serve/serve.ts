// The app without a window of its own: the host of the windows and a web server for them, started and ended together.
import { join } from 'node:path';
import { EngineClient } from '../client/engine-client.ts';
import { bundledExpertPaths, bundledModelPath, rendererFolder } from '../host/bundled-files.ts';
import { WindowHost } from '../host/window-host.ts';
import { startWebServer, type WebServer } from './web-server.ts';

export interface ServeOptions {
  readonly client: EngineClient;
  /** Where finished pictures are written; the queue and dropped files lie in its folder `.atelier`. Absolute. */
  readonly folder: string;
  readonly port: number;
  readonly version: string;
}

/** Serves until `close`. Throws FolderInUseError when another process draws into `folder`, Node's error for a taken port. */
export async function serve({ client, folder, port, version }: ServeOptions): Promise<WebServer> {
  const stateFolder = join(folder, '.atelier');
  const trainingClient = new EngineClient();
  const host = await WindowHost.open({
    client,
    trainingClient,
    folder,
    stateFolder,
    version,
    place: 'browser',
    model: bundledModelPath(),
    bundled: bundledExpertPaths(),
  });
  try {
    const server = await startWebServer({
      host,
      rendererFolder: rendererFolder(),
      dropFolder: join(stateFolder, 'dropped'),
      port,
    });
    return {
      ...server,
      close: async () => {
        await server.close();
        await host.close();
        await trainingClient.close();
      },
    };
  } catch (error) {
    await host.close();
    throw error;
  }
}

// Finds files of the library by the name of a tag and by content. A hash that is not known yet costs reading files, so those that
// are likely to be it are read first, and the others only within a limit.
import type { FoundExpert } from '../contract/window-library.ts';
import type { LibraryIndex, PlacedFile } from './library-index.ts';

/** A file as a recipe names it. */
export interface Identity {
  readonly name: string;
  readonly sha256: string;
  readonly bytes?: number | undefined;
}

/** Bytes of files that are read although nothing says that they are the wanted ones: some ten seconds. */
const mostGuessedBytes = 4e9;

/** Names and hashes of `wanted` that belong to a file of `index`, in the order of its files; unknown ones are left out. */
export async function findExperts(
  index: LibraryIndex,
  wanted: { readonly names: readonly string[]; readonly hashes: readonly string[] },
): Promise<readonly FoundExpert[]> {
  const found: FoundExpert[] = [];
  for (const asked of wanted.names) {
    const file = fileCalled(asked, index.files);
    if (file !== undefined) found.push({ asked, by: 'name', path: file.path, name: file.name, place: file.place });
  }
  for (const [asked, file] of await findHashes(index, wanted)) {
    found.push({ asked, by: 'hash', path: file.path, name: file.name, place: file.place });
  }
  return found;
}

/** The file whose name, or whose folder and name, is that of a tag: as written, or else in any case. */
export function fileCalled(name: string, files: readonly PlacedFile[]): PlacedFile | undefined {
  const wanted = name.replaceAll('\\', '/').replace(/\.safetensors$/i, '');
  const fits = (stem: string, target: string): boolean => stem === target || stem.endsWith(`/${target}`);
  const stemOf = (file: PlacedFile): string => (file.below === '' ? file.name : `${file.below}/${file.name}`);
  const usable = files.filter(({ refused }) => !refused);
  return (
    usable.find((file) => fits(stemOf(file), wanted)) ??
    usable.find((file) => fits(stemOf(file).toLowerCase(), wanted.toLowerCase()))
  );
}

async function findHashes(
  index: LibraryIndex,
  { names, hashes }: { readonly names: readonly string[]; readonly hashes: readonly string[] },
): Promise<ReadonlyMap<string, PlacedFile>> {
  const found = new Map<string, PlacedFile>();
  const take = (file: PlacedFile): void => {
    const known = index.knownHashes(file);
    if (known === undefined) return;
    for (const asked of hashes) {
      const hash = asked.toLowerCase();
      if (!found.has(asked) && (known.sha256.startsWith(hash) || known.autoV3.startsWith(hash))) found.set(asked, file);
    }
  };
  const files = index.files.filter(({ refused }) => !refused);
  files.forEach(take);
  const named = new Set(names.flatMap((name) => fileCalled(name, files) ?? []));
  const claims = (file: PlacedFile): boolean => {
    const claimed = index.factsOf(file)?.claimedHash;
    return claimed !== undefined && hashes.some((hash) => claimed.startsWith(hash.toLowerCase()));
  };
  const likely = files.filter((file) => named.has(file) || claims(file));
  const others = files.filter((file) => !likely.includes(file));
  let guessed = 0;
  for (const file of [...likely, ...others]) {
    if (found.size === new Set(hashes).size) break;
    if (index.knownHashes(file) !== undefined) continue;
    if (!likely.includes(file)) guessed += file.bytes;
    if (guessed > mostGuessedBytes) break;
    // A file that cannot be read is not the one.
    await index.readHashes(file).then(
      () => {
        take(file);
      },
      () => undefined,
    );
  }
  return found;
}

/** The file that `wanted` names: of its size and, before others, of its name; its hash decides. */
export async function findIdentity(
  index: LibraryIndex,
  { name, sha256, bytes }: Identity,
): Promise<PlacedFile | undefined> {
  const stem = name.replace(/\.safetensors$/i, '');
  const files = index.files.filter((file) => !file.refused && (bytes === undefined || file.bytes === bytes));
  const known = files.find((file) => index.knownHashes(file)?.sha256 === sha256);
  if (known !== undefined) return known;
  const ordered = [...files.filter((file) => file.name === stem), ...files.filter((file) => file.name !== stem)];
  let guessed = 0;
  for (const file of ordered) {
    if (index.knownHashes(file) !== undefined) continue;
    if (file.name !== stem) guessed += file.bytes;
    if (guessed > mostGuessedBytes) return undefined;
    if ((await index.readHashes(file).catch(() => undefined))?.sha256 === sha256) return file;
  }
  return undefined;
}

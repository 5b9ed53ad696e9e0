// What the scripts share: Chromium as the tests want it, and a record of all that it holds and sends.
import { pathToFileURL } from 'node:url';

export const env = (name) => {
  if (process.env[name] === undefined) throw new Error(`${name} is not set`);
  return process.env[name];
};
const { chromium } = await import(pathToFileURL(`${env('TOOLS_DIR')}/node_modules/playwright-core/index.mjs`));

export const launch = (...more) => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', ...more],
});

export const shot = async (page, name) => {
  if (process.env.SHOTS) await page.screenshot({ path: `${process.env.SHOTS}/${name}.png`, fullPage: true });
};

// Every text in which a key could be, from each request's headers on.
export const record = (context) => {
  const texts = new Set();
  context.on('request', (request) => {
    request.allHeaders().then((headers) => Object.values(headers).forEach((value) => texts.add(value))).catch(() => {});
    texts.add(request.url());
    if (request.postData()) texts.add(request.postData());
  });
  return texts;
};

// What a context holds now: cookies, and the storage of the pages given.
export const held = async (context, pages) => {
  const texts = [];
  for (const cookie of await context.cookies()) texts.push(decodeURIComponent(cookie.value));
  for (const page of pages) {
    texts.push(...await page.evaluate(() => [localStorage, sessionStorage].flatMap((storage) => Object.values({ ...storage }))));
  }
  return texts;
};

// Keys, wherever they stand in the texts, in the payloads of JWTs too.
export const keysIn = (texts) => {
  const found = new Set();
  for (const text of texts) {
    const payloads = [...text.matchAll(/eyJ[\w-]+\.([\w-]+)\.[\w-]+/g)].map((jwt) => Buffer.from(jwt[1], 'base64url').toString());
    for (const place of [text, ...payloads]) for (const key of place.matchAll(/sk-[\w-]+/g)) found.add(key[0]);
  }
  return [...found];
};

export const signIn = async (page, user) => {
  await page.waitForSelector('[name=login]');
  await page.fill('[name=login]', user);
  await page.fill('[name=password]', `${user}-pw`);
  await page.click('#go');
};

// A whole day in LiteLLM's admin UI behind the sign-in proxy at BASE: alice, bob as administrator, sign-out, and both in one
// browser. Prints what was seen as JSON. BASE, TOOLS_DIR; SHOTS = a folder for pictures.
import { env, held, keysIn, launch, record, shot, signIn } from './lib.mjs';

const base = env('BASE');
const seen = {};
const browser = await launch();

// A call as the UI's pages make it: with what they find in the cookie.
const call = (page, method, path, body) => page.evaluate(async ([method, path, body]) => {
  const token = document.cookie.split('; ').find((cookie) => cookie.startsWith('token='))?.slice(6);
  const part = token?.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
  const key = window.keptKey ?? (part && JSON.parse(atob(part)).key);
  window.keptKey = key;
  const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  return { status: answer.status, body: await answer.json().catch(() => null) };
}, [method, path, body]);

// The dashboard is there when its menu is.
const dashboard = async (page) => {
  await page.waitForFunction(() => /Virtual Keys/.test(document.body?.innerText ?? ''), null, { timeout: 60000 });
  await page.waitForLoadState('networkidle');
  return page.evaluate(() => document.body.innerText);
};
const chat = { model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'hi' }] };

try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const sent = record(context);
  const alice = await context.newPage();
  const visited = [];
  alice.on('framenavigated', (frame) => { if (frame === alice.mainFrame()) visited.push(frame.url()); });

  await alice.goto(`${base}/ui/`);
  await signIn(alice, 'alice');
  seen.aliceMenu = await dashboard(alice);
  seen.visited = visited.map((url) => url.split('?')[0]);
  await shot(alice, '1-alice');
  seen.aliceMe = (await call(alice, 'GET', '/management/v1/users/me')).body;
  seen.aliceAdminRoute = (await call(alice, 'GET', '/user/list?page=1&page_size=1')).status;
  seen.aliceChat = (await call(alice, 'POST', '/v1/chat/completions', chat)).status;
  await alice.goto(`${base}/vestibule/whoami`);
  seen.whoami = await alice.evaluate(() => document.body.innerText);
  await shot(alice, '2-whoami');
  await alice.goto(`${base}/ui/`);
  await dashboard(alice);
  await call(alice, 'GET', '/key/list'); // keeps her key, as her open page does

  // Her tab stays open, and bob signs in in the same browser.
  const bob = await context.newPage();
  await bob.goto(`${base}/oauth2/callback?logout=${encodeURIComponent(`${base}/bye`)}`);
  await bob.click('#yes');
  await bob.waitForURL(`${base}/bye`);
  await bob.goto(`${base}/ui/`);
  await signIn(bob, 'bob');
  seen.bobMenu = await dashboard(bob);
  await shot(bob, '3-bob');
  const hers = await call(alice, 'GET', '/key/list');
  seen.herTabAfterBob = { status: hers.status, type: hers.body?.error?.type };
  seen.bobMe = (await call(bob, 'GET', '/management/v1/users/me')).body;

  // bob at work.
  const team = await call(bob, 'POST', '/team/new', { team_alias: `team-${Date.now()}` });
  const made = await call(bob, 'POST', '/key/generate', { key_alias: `bobs-${Date.now()}`, user_id: 'bob' });
  seen.bobTeam = team.status;
  seen.bobKey = made.status;
  seen.madeOnPurpose = made.body?.key;
  seen.bobEdits = (await call(bob, 'POST', '/user/update', { user_id: 'alice', max_budget: 5 })).status;
  seen.bobChat = (await call(bob, 'POST', '/v1/chat/completions', chat)).status;
  await bob.getByText('Playground', { exact: true }).first().click();
  await bob.waitForLoadState('networkidle');
  await bob.getByPlaceholder('Select a Model').first().click();
  await bob.getByRole('option', { name: 'gpt-4o-mini' }).first().click();
  await bob.getByTestId('chat-composer-input').first().fill('hi');
  await bob.getByTestId('chat-composer-input').first().press('Enter');
  // What the model of the tests says to everything.
  await bob.getByText('hello', { exact: true }).first().waitFor({ timeout: 30000 });
  seen.playground = true;
  await shot(bob, '4-playground');

  // All that the browser held and sent, before anything is cleared.
  const kept = await held(context, [bob, alice]);
  seen.keys = keysIn([...sent, ...kept]);
  seen.texts = sent.size + kept.length;

  // LiteLLM's own button.
  await bob.goto(`${base}/ui/`);
  await dashboard(bob);
  seen.beforeLogout = (await call(bob, 'GET', '/key/list')).status;
  const key = await bob.evaluate(() => window.keptKey);
  await bob.getByText('bob@example.test').first().click();
  await bob.getByText('Logout', { exact: true }).last().click();
  await bob.waitForSelector('#yes', { timeout: 60000 });
  await shot(bob, '5-sign-out');
  await bob.click('#yes');
  await bob.waitForURL(`${base}/bye`);
  await shot(bob, '6-bye');
  seen.cookiesAfterLogout = (await context.cookies()).map((cookie) => cookie.name).filter((name) => name === 'token');
  seen.oldKey = key;
  await bob.goto(`${base}/ui/`);
  seen.asksAgain = new URL(bob.url()).pathname.startsWith('/interaction/');
} catch (error) {
  seen.error = String(error.stack ?? error);
  for (const [at, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
    await shot(page, `error-${at}`).catch(() => {});
    seen[`page${at}`] = page.url();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));

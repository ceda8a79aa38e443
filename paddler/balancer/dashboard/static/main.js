/* The page's root: wires what is known to what is shown, one picture a frame at most. */
import { AgentList } from './agents.js';
import { drawAttention } from './attention.js';
import { DrainDialog } from './drain.js';
import { drawEmpty } from './empty.js';
import { facts } from './fleet.js';
import { keepLinked } from './link.js';
import { renewFor } from './renew.js';
import { Scene } from './scene.js';
import { drawStrip } from './strip.js';
import { startTheme } from './theme.js';
import { drawTiles, recolourTiles } from './tiles.js';
import { askForToken } from './token.js';
import { drawHeader, drawTitle, drawVerdict } from './verdict.js';

const scene = new Scene();
const dialog = new DrainDialog(scene);
const list = new AgentList(id => dialog.open(id), changed);
/** The frame that was asked for: of all, or of what is left of the list. @type {'' | 'all' | 'rest'} */
let asked = '';

function changed() {
  if (scene.balancer) renewFor(scene.balancer.version);
  // A hidden page draws nothing, but its title is still read.
  if (document.hidden) drawTitle(scene, facts(scene.agents.values(), scene.now()));
  else ask('all');
}

/** @param {'all' | 'rest'} what */
function ask(what) {
  if (!asked) requestAnimationFrame(draw);
  if (asked !== 'all') asked = what;
}

function draw() {
  const all = asked === 'all';
  asked = '';
  // Each has a frame of its own, so that none is long.
  if (all) drawAll();
  if (all || list.slice(scene)) ask('rest');
}

function drawAll() {
  const f = facts(scene.agents.values(), scene.now());
  drawHeader(scene);
  drawVerdict(scene, f);
  drawStrip(f);
  drawEmpty(scene);
  drawTiles(scene, f);
  drawAttention(scene, f, name => list.pick(name));
  list.draw(scene);
  dialog.draw();
}

startTheme(() => { recolourTiles(); changed(); });
document.addEventListener('visibilitychange', changed);
// Times pass also when nothing is heard.
setInterval(changed, 1000);
changed();
keepLinked(scene, changed, askForToken);

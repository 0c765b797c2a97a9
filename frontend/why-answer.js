// The answer to why: the number asked about first, then the other ways to count, what other tools print, the epoch itself.

import { make } from "./dom.js";
import { formatCounted, formatExact, formatLoss } from "./format.js";
import { labelMeaning } from "./meaning.js";
import { isFact, listFacts, tableRanks } from "./why-facts.js";

/** @typedef {import("./types.js").Explanation} Explanation */
/** @typedef {import("./types.js").ExplainedView} ExplainedView */
/** @typedef {import("./types.js").Artefact} Artefact */
/** @typedef {import("./types.js").Printed} Printed */
/** @typedef {Record<string, string>} Frameworks  versions by package, as the run named them */
/** @typedef {{answer: Explanation, field: string, frameworks: Frameworks, counts: import("./why-facts.js").LeftOut}} Asked */

/** @type {Record<string, string[]>} */
const PACKAGES = { "Hugging Face Trainer": ["transformers"], Lightning: ["lightning", "pytorch_lightning"], Keras: ["keras", "tf_keras", "tensorflow"] };

/**
 * @param {Explanation} answer
 * @param {string} field
 * @returns {string}
 */
export function titleWhy(answer, field) {
  if (field === "meaning") return `Why “${labelMeaning(answer)}”?`;
  const view = answer.views.find((one) => one.view === field);
  const fact = listFacts(answer, field).find((one) => one.fields.includes(field));
  return `Why ${view ? formatLoss(view.value) : (fact?.text ?? "this")}?`;
}

/**
 * Draw the answer anew if it is another, so that a selection in it outlives the run's next record.
 * @param {HTMLElement} root
 * @param {Asked} asked
 */
export function drawAnswer(root, asked) {
  const is = JSON.stringify(asked);
  if (root.dataset["is"] === is && root.hasChildNodes()) return;
  root.dataset["is"] = is;
  const { answer, field } = asked;
  const first = answer.views.find((view) => view.view === field);
  const others = answer.views.filter((view) => view !== first && (view.view !== "step_objective" || hasLargeSteps(answer)));
  const facts = drawFacts(asked);
  const sections = [
    ...(first ? [section("", [drawView(first, answer, true)])] : []),
    ...(isFact(field) ? [facts, ...drawGeneral(answer)] : []),
    section(first ? "Other ways to count" : "The ways to count", [...others.filter(hasValue).map((view) => drawView(view, answer, false)), ...drawMissing(others)]),
    ...(isFact(field) ? [] : drawGeneral(answer)),
    ...drawTools(asked, root.querySelector("details")?.open),
    ...(isFact(field) ? [] : [facts]),
    section("Notes", answer.notes.map((note) => make("p", {}, note))),
  ];
  root.replaceChildren(...sections.filter((one) => one.lastElementChild && one.lastElementChild.tagName !== "H3")); // none that is only its title
}

/**
 * Whether the step objective is anything but the batch mean.
 * @param {Explanation} answer
 */
function hasLargeSteps({ ranks, accumulation }) {
  return (ranks?.length ?? 0) > 1 || (accumulation ?? 1) > 1;
}

/**
 * @param {string} title
 * @param {HTMLElement[]} children
 */
function section(title, children) {
  return make("section", {}, ...(title ? [make("h3", {}, title)] : []), ...children);
}

/**
 * @param {ExplainedView} view
 * @param {Explanation} answer
 * @param {boolean} isAsked
 */
function drawView({ view, label, value, formula, worked, meaning }, answer, isAsked) {
  const head = make("p", { class: "why-line" }, make("span", { class: "why-label" }, label), make("span", { class: "why-value" }, formatExact(value)));
  const root = make("div", { class: isAsked ? "why-view is-asked" : "why-view", "data-view": view }, head, make("p", { class: "soft" }, meaning));
  if (formula) root.append(make("p", { class: "formula soft" }, formula));
  if (worked) root.append(make("p", { class: "formula worked" }, worked));
  for (const artefact of answer.artefacts) if (artefact.view === view) root.append(drawArtefact(artefact));
  return root;
}

/** @param {ExplainedView} view */
function hasValue({ value }) {
  return value !== null;
}

/**
 * The views without a value, together where they have one reason.
 * @param {ExplainedView[]} views
 */
function drawMissing(views) {
  const missing = views.filter((view) => !hasValue(view));
  return [...new Set(missing.map(({ meaning }) => meaning))].map((reason) => {
    const labels = missing.filter(({ meaning }) => meaning === reason).map(({ label }, i) => (i === 0 ? label : label.toLowerCase()));
    const head = make("p", { class: "why-line" }, make("span", { class: "why-label" }, labels.join(", ")), make("span", { class: "why-value" }, "–"));
    return make("div", { class: "why-view" }, head, make("p", { class: "soft" }, reason));
  });
}

/**
 * The artefacts that belong to no one view that is shown.
 * @param {Explanation} answer
 */
function drawGeneral({ artefacts, views }) {
  const general = artefacts.filter((artefact) => !views.some((view) => view.view === artefact.view));
  return general.length > 0 ? [section("About this epoch", general.map(drawArtefact))] : [];
}

/** @param {Artefact} artefact */
function drawArtefact({ code, message }) {
  return make("p", { class: "artefact", "data-code": code }, message);
}

/**
 * What the run's own tools printed, in full; what others would have, ready to be unfolded.
 * @param {Asked} asked
 * @param {boolean} [isOpen]  as the reader left it
 */
function drawTools({ answer, frameworks }, isOpen) {
  const [own, others] = [true, false].map((isYours) => answer.printed.filter((one) => one.is_yours === isYours).map((one) => drawPrinted(one, frameworks)));
  if (!own || !others) return [];
  const title = own.length > 0 ? "What other tools would print" : "What tools would print";
  const folded = make("details", { open: isOpen ?? own.length === 0 }, make("summary", {}, make("h3", {}, title)), ...others);
  return [...(own.length > 0 ? [section("What your tools printed", own)] : []), ...(others.length > 0 ? [section("", [folded])] : [])];
}

/**
 * @param {Printed} printed
 * @param {Frameworks} frameworks
 */
function drawPrinted({ tool, versions, what, value, values, reason, is_yours: isYours }, frameworks) {
  const own = isYours ? nameOwn(tool, frameworks) : "";
  const name = own ? `Your ${own}` : [isYours ? "Your" : "", tool, versions && versions !== "any" ? versions : ""].filter(Boolean).join(" ");
  const head = make("span", {}, make("span", { class: "why-label" }, name), " ", make("span", { class: "soft" }, what));
  const line = make("p", { class: "why-line" }, head, ...(values ? [] : [make("span", { class: "why-value" }, formatLoss(value))]));
  const root = make("div", { class: isYours ? "why-printed is-yours" : "why-printed", "data-tool": tool }, line);
  if (values) root.append(make("p", { class: "why-values" }, values.map(formatLoss).join("  ")));
  root.append(make("p", { class: "soft" }, reason));
  return root;
}

/**
 * Those of the tools named that the run itself used, with their versions.
 * @param {string} tools  one, or several with commas between
 * @param {Frameworks} used
 * @returns {string}
 */
function nameOwn(tools, used) {
  const own = tools.split(", ").flatMap((tool) => {
    const known = (PACKAGES[tool] ?? [tool.toLowerCase()]).find((name) => used[name]);
    return known ? [`${tool} ${used[known]}`] : [];
  });
  return own.join(", ");
}

/** @param {Asked} asked */
function drawFacts({ answer, field, counts }) {
  const list = make("dl", { class: "facts" });
  for (const { label, text, more, fields } of listFacts(answer, field, counts)) {
    const data = make("dd", {}, text, ...(more ? [make("span", { class: "soft" }, /^[,:]/.test(more) ? more : ` ${more}`)] : []));
    list.append(make("div", { class: fields.includes(field) ? "is-asked" : null }, make("dt", {}, label), data));
  }
  const ranks = tableRanks(answer);
  return section(`The epoch, ${formatCounted(answer.batches, "batch", "batches")}`, [list, ...(ranks ? [ranks] : [])]);
}

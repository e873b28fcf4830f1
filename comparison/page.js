"use strict";
// Without this script the page is in English, with the table as it was written and the front for the first cost
const TEXTS = JSON.parse(document.getElementById("texts").textContent);
const LANGUAGES = { en: "en", zh: "zh-CN" };
const other = document.getElementById("language");
let language = "en";

function text(element, key) {
  const words = TEXTS[language][key];
  if (!element.dataset.values) return words;
  const values = JSON.parse(element.dataset.values);
  return words.replace(/\{(\d)\}/g, (_, place) => values[place]);
}
function setLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = LANGUAGES[chosen];
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element, element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute(element.tagName === "IMG" ? "alt" : "aria-label", text(element, element.dataset.label));
  }
  other.textContent = chosen === "zh" ? "English" : "中文";
  other.lang = LANGUAGES[chosen === "zh" ? "en" : "zh"];
}
other.addEventListener("click", () => {
  setLanguage(language === "zh" ? "en" : "zh");
  try { localStorage.setItem("language", language); } catch (error) { /* storage is switched off */ }
});

for (const heading of document.querySelectorAll("#table thead th")) {
  heading.querySelector("button").addEventListener("click", () => {
    const column = heading.cellIndex, body = document.querySelector("#table tbody");
    const descending = heading.getAttribute("aria-sort") !== "descending";
    for (const one of document.querySelectorAll("#table thead th")) one.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value;
    const rows = [...body.rows].sort((one, another) => {
      const a = value(one), b = value(another);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return descending ? -order : order;
    });
    body.append(...rows);
  });
}

for (const choice of document.querySelectorAll("input[name=cost]")) {
  choice.addEventListener("change", () => {
    for (const chart of document.querySelectorAll(".chart")) chart.hidden = chart.dataset.cost !== choice.value;
  });
}
const chosen = document.querySelector("input[name=cost]:checked"); // a browser may restore an earlier choice
if (chosen) chosen.dispatchEvent(new Event("change"));

for (const element of document.querySelectorAll(".scripted, #language")) element.hidden = false;
const named = () => Object.hasOwn(LANGUAGES, location.hash.slice(1)) ? location.hash.slice(1) : null; // index.html#zh
addEventListener("hashchange", () => { if (named()) setLanguage(named()); });
let stored = null;
try { stored = localStorage.getItem("language"); } catch (error) { /* storage is switched off */ }
const preferred = (navigator.languages && navigator.languages[0]) || navigator.language || "en";
setLanguage(named() || (Object.hasOwn(LANGUAGES, stored) ? stored : preferred.toLowerCase().startsWith("zh") ? "zh" : "en"));

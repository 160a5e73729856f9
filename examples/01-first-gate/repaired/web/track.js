// The search box: asks for a parcel and shows where it is.
"use strict";

const capitalize = require("lodash/capitalize");
const arguments_ = require("minimist")(process.argv.slice(2));

function show(parcel) {
  const text = `${capitalize(parcel.status)} in ${parcel.town}`;
  document.getElementById("parcel").textContent = text;
}

function price(base, perKilogram, weight) {
  return base + perKilogram * weight;
}

function matches(start, number) {
  return number.startsWith(start);
}

module.exports = { show, price, matches, port: arguments_.port };

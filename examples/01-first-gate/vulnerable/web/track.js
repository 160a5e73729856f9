// The search box: asks for a parcel and shows where it is.
"use strict";

const template = require("lodash/template");
const arguments_ = require("minimist")(process.argv.slice(2));

function show(parcel) {
  const page = template("<b><%= status %></b> in <%= town %>");
  document.getElementById("parcel").innerHTML = page(parcel);
}

function format(rule, weight) {
  // Prices come as rules such as "2 + weight * 0.4".
  return eval(rule.replace("weight", weight));
}

function matches(pattern, number) {
  return new RegExp(pattern).test(number);
}

module.exports = { show, format, matches, port: arguments_.port };

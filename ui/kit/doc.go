// Package kit draws the pieces that the screens of package ui are made of: text cut to a width, styles, tables, charts,
// pagers and dialogs. It knows nothing of Kubernetes: what it draws is a function of its own values, a set of styles and
// an area.
package kit

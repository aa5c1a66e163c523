// Package house holds the tests of house policy: which room may import which,
// that every package says what it is, that deciders have no clock, and how
// errors are phrased. It has no code of its own and nothing imports it.
package house

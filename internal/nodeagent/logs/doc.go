// Package logs reads container log files as CRI defines them, from the end, since a time, or as they grow.
//
// It writes none and rotates none. Only nodeagent imports it.
package logs

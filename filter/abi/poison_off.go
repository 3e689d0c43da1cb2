//go:build !spillway_trap

package abi

const poisons = false

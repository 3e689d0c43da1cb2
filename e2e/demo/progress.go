package main

import (
	"fmt"
	"sync"
	"time"
)

// sayEvery is how long nothing is said while something takes its time.
const sayEvery = 8 * time.Second

// saying says every now and then that something still goes on, until it is told to stop.
func saying(what string) (stop func()) {
	ended := make(chan struct{})
	var said sync.WaitGroup
	said.Go(func() {
		began, tick := time.Now(), time.NewTicker(sayEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Printf("%5.0f s  … %s\n", time.Since(began).Seconds(), what)
			case <-ended:
				return
			}
		}
	})
	return func() {
		close(ended)
		said.Wait()
	}
}

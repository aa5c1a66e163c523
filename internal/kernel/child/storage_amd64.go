package child

// storage is the size of a child's thread-local storage: Go code on this architecture begins with a read of it.
const storage = 1024

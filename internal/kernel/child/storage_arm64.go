package child

// storage is nothing: on this architecture Go code keeps its goroutine in a register.
const storage = 0

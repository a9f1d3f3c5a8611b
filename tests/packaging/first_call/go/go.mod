module example.com/first-call

go 1.26.0

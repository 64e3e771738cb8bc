// The requirements are in versions/, one file for each version of getty: go build -modfile=versions/1.5.0.mod
module peer

go 1.20

{
  description = "Keeps watch over fleets of AI coding agents in tmux: heals, nudges, waits out limits, and says why";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      forAll = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
      cargo = builtins.fromTOML (builtins.readFile ./Cargo.toml);
    in
    {
      packages = forAll (pkgs: rec {
        default = watchkeeper;
        watchkeeper = pkgs.rustPlatform.buildRustPackage {
          pname = cargo.package.name;
          version = cargo.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          nativeCheckInputs = [ pkgs.tmux pkgs.git ];
          # The tests start tmux servers and trace system calls, which not every build sandbox allows: tests/run has them.
          doCheck = false;
          meta = {
            description = cargo.package.description;
            license = with pkgs.lib.licenses; [ mit asl20 ];
            mainProgram = "watchkeeper";
          };
        };
      });

      devShells = forAll (pkgs: {
        default = pkgs.mkShell {
          packages = [ pkgs.cargo pkgs.rustc pkgs.clippy pkgs.rustfmt pkgs.tmux pkgs.git ]
            ++ pkgs.lib.optionals pkgs.stdenv.hostPlatform.isLinux [ pkgs.strace ];
        };
      });
    };
}

// Command pulumi-resource-docker serves the Docker Terraform provider to the Pulumi engine under the names that the
// pulumi_docker SDK asks for.
//
// It is compiled as the root package of a copy of that provider's module (see ../../build.py), because the provider
// itself is in an internal package of it.
package main

import (
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge/tokens"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"

	"github.com/terraform-providers/terraform-provider-docker/internal/provider"
)

// version is the pulumi_docker release whose SDK this plugin answers to; set by the linker.
var version = "0.0.0-dev"

func main() {
	info := tfbridge.ProviderInfo{
		P:       shim.NewProvider(provider.New(version)()),
		Name:    "docker",
		Version: version,
		Config: map[string]*tfbridge.SchemaInfo{
			"host": {Default: &tfbridge.DefaultInfo{
				EnvVars: []string{"DOCKER_HOST"},
				Value:   "unix:///var/run/docker.sock",
			}},
			"registry_auth": {Name: "registryAuth"}, // the SDK keeps the singular
		},
		Resources: map[string]*tfbridge.ResourceInfo{
			"docker_config": {Tok: "docker:index/serviceConfig:ServiceConfig"},
			"docker_container": {
				Tok:                 "docker:index/container:Container",
				DeleteBeforeReplace: true, // Docker refuses two containers of one name
				Fields: map[string]*tfbridge.SchemaInfo{
					"command":           {Name: "command"}, // one command in words, not several
					"networks_advanced": {Name: "networksAdvanced"},
				},
			},
			"docker_image": {
				Tok:    "docker:index/remoteImage:RemoteImage",
				Fields: map[string]*tfbridge.SchemaInfo{"name": {Name: "name"}}, // a reference: never made up
			},
		},
		DataSources: map[string]*tfbridge.DataSourceInfo{
			"docker_image": {Tok: "docker:index/getRemoteImage:getRemoteImage"},
		},
	}
	info.MustComputeTokens(tokens.SingleModule("docker_", "index", tokens.MakeStandard("docker")))
	info.SetAutonaming(255, "-")

	// Programs carry their own types, so the engine needs no more of a schema than the name.
	tfbridge.Main(info.Name, version, info, []byte(`{"name": "docker", "version": "`+version+`"}`))
}
